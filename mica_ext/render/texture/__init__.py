"""A photo unwrapped into a head's texture."""
