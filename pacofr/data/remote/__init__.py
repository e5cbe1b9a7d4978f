"""Data that lies elsewhere: object stores and web servers through fsspec, and pipes."""
