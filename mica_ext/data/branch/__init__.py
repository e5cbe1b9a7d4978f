"""Training samples of the expression branch, from any data set, in one format."""
