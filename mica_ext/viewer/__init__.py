"""Heads to look at: self-contained HTML pages that draw with WebGL, and an Open3D window."""
