"""Faces to learn from."""
