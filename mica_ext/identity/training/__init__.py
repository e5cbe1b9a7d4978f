"""Training of the identity network, as MICA trains it."""
