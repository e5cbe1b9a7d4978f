"""The parameter domain and the named control points on it."""
