"""Anthro: a procedural, licence-free parametric head."""
