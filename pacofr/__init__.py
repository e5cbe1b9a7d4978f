"""PaCo-FR pre-training, face encoders, face detection and crops."""
