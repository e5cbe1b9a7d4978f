"""Edits of reconstructed faces: another's expression, single ARKit weights, another head."""
