"""Meshes, glTF and parameter files for people and other programs."""
