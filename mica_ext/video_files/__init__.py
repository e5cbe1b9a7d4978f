"""Video files in and out, through PyAV (the extra `video`)."""
