"""Which of the curated crops to keep: duplicates, test sets, a number."""
