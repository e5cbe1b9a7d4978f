"""Dense points: where they lie on a head, how they move with it, and how they are read."""
