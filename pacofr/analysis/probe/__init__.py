"""Encoders scored by what can be read from their features; `run` puts the probes together."""
