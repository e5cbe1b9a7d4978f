"""Closest points on a triangle mesh."""
