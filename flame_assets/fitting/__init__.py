"""Fits of a head to registered meshes and to 3D landmarks, in NumPy."""
