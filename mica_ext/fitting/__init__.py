"""Fitting a head model to image landmarks."""
