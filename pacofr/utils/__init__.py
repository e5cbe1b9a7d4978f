"""Whole files, progress bars and checks that every other room uses."""
