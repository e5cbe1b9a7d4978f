"""Compilation of training steps, and what tells how fast they are."""
