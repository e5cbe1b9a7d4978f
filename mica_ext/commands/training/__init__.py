"""Trainings whose run folders are model packs in the end."""
