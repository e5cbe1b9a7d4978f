"""Head models: FLAME's licensed files and Anthro, the head that needs no licence."""
