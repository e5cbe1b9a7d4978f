"""The expression branch: an encoder's features to expression, jaw, eyes, head pose and camera."""
