"""One photo in, an expressive metrical 3D face out."""
