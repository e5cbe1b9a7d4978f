"""Runs over photos: what to read, what to write and reuse, and what is said meanwhile."""
