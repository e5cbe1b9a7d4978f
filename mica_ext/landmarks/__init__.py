"""478 points of a face: reading, training, calibration, evaluation."""
