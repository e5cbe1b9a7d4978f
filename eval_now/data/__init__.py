"""The benchmark's data, predictions and predictors."""
