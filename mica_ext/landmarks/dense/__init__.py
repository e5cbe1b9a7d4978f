"""The dense landmark network: 478 points of a face with a confidence per region."""
