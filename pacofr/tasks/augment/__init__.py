"""Alignment matrices, the tanh warp, and augmentations of FaRL's protocol."""
