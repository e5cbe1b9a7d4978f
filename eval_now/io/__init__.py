"""Readers and writers of meshes, landmarks and arrays."""
