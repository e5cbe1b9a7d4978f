"""The ARKit expressions as vertex displacements."""
