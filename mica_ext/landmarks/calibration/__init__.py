"""Calibration of points: the mean person, and how far points follow faces."""
