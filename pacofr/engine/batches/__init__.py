"""Batches of a training: which samples a step takes, reading them ahead, and on the device."""
