"""Cameras, rotations, head poses and normal equations, in NumPy."""
