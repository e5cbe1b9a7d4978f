"""Folders of predictions, and the predictors that write them."""
