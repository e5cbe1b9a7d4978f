"""Face Mesh V2 (MediaPipe Face Landmarker): 478 points of a face, read by torch from its file."""
