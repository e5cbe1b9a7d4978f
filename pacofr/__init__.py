"""PaCo-FR pre-training, face encoders, face detection and crops, and the paper's 2D tasks."""
