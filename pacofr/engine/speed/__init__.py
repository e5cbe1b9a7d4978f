"""What makes training steps fast, and what tells how fast they are."""
