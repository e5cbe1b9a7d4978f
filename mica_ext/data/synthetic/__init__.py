"""Rendered heads: training faces, and a NoW-like benchmark."""
