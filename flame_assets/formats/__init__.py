"""Readers and writers of other people's head formats."""
