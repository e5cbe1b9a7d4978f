"""The NoW benchmark: score any method's neutral meshes against the scans."""
