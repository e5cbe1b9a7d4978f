"""Closest points, alignment and rasterisation."""
