"""What a pre-trained encoder knows: probes, pictures, and Table 7 of the paper."""
