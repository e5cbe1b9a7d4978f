"""Commands on the parameter files of earlier runs: other meshes, sheets, pages."""
