"""Training data on disk: shards of face crops, and the curation that makes them."""
