"""Registered meshes of CoMA, FaMoS and any folder: where they lie, and heads fitted to them."""
