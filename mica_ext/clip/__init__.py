"""Faces of videos: tracked, one identity, smoothed over time."""
