"""Texture coordinates: the skin unfolded with low stretch, mouth, eyes and teeth as islands."""
