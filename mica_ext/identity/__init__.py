"""MICA's identity branch: ArcFace crops to FLAME 2020 identity coefficients."""
