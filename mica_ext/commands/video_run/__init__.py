"""`reconstruct` of a video."""
