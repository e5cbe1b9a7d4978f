"""From control points to the finished mesh with landmarks, regions and colours."""
