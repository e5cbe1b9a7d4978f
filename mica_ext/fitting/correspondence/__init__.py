"""Which spot of a head each of the 478 points shows."""
