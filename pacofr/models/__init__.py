"""Vision transformer, and readers of published face encoders."""
