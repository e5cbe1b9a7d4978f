"""Face crops for the networks."""
