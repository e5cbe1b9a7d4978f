"""Training of the expression branch: samples, crops, loss and task."""
