"""The method of the paper: masking, codebook, belief, model and losses."""
