"""Face parsing and face alignment with any encoder (PaCo-FR section 4.2, FaRL's protocol)."""
