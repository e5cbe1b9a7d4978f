"""The 68-landmark network: architecture, training, evaluation."""
