"""The network of 478 points that ships, a student of Face Mesh V2: layers, patches, weights."""
