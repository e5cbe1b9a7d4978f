"""Identity modes from published body measures."""
