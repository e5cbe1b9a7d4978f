"""Tables, error curves and heat maps of a run."""
