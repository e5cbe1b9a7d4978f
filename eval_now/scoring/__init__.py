"""Scores, statistics and the result file."""
