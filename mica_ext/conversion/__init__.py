"""Expression coefficients of a head and ARKit weights, each from the other."""
