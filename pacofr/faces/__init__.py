"""Find faces in a photo and cut them out the way face networks expect."""
