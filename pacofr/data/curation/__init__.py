"""From raw photos to shards of aligned face crops."""
