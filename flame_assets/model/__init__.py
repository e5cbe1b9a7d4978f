"""The head model itself: arrays, files, skinning, landmarks, torch module."""
