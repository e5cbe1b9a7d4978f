"""Samples of each kind of data: registered meshes, calibrated pictures, photos, rendered heads."""
