"""What happens to weights at a step: learning rates, optimiser, loss scale, moving average."""
