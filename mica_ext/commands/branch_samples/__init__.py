"""`mica-ext samples`: training samples of the expression branch from any data set."""
