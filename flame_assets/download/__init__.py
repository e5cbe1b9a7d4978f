"""Files of other people, fetched into the store."""
