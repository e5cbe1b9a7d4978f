"""The frames of a video: a mesh drawn again and again, and laid over what was filmed."""
