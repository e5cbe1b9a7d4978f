"""A software rasteriser, shading, and the overlay picture."""
