"""Face parsing: a class for every pixel."""
