"""The benchmark's data as distributed, and artificial data in its layout."""
