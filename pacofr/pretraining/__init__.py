"""The paper's method: masking, codebook, belief predictor, losses and the training loop."""
