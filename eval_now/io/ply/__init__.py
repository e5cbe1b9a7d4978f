"""Stanford PLY, ascii and binary: vertices and triangles."""
