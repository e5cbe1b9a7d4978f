"""Limits of everything that eval_now reads; a file beyond them is refused in one line.

With them any file is read or refused within 60 s and 2 GiB on two slow cores.
"""

MAX_MESH_BYTES = 256 * 2**20
MAX_VERTICES = 5_000_000
MAX_TRIANGLES = 10_000_000
MAX_COORDINATE = 1e9
"""Of every coordinate read, in any unit; larger values would overflow when squared later."""

MAX_PLY_HEADER_BYTES = 2**20
MAX_PLY_PROPERTIES = 1000
"""Of all elements together."""
MAX_PLY_LISTS = 10_000_000
"""Of all elements together."""
MAX_PLY_NUMBERS = 50_000_000
"""In the body of an ascii file."""

MAX_LANDMARK_BYTES = 2**20
MAX_BOX_BYTES = 2**16
MAX_NPY_HEADER_BYTES = 2**16
MAX_IMAGE_LIST_BYTES = 16 * 2**20

MAX_JSON_BYTES = 32 * 2**20
MAX_JSON_DEPTH = 50

MAX_PHOTO_BYTES = 64 * 2**20
MAX_PHOTO_PIXELS = 80_000_000
MAX_PHOTO_SCANS = 100
"""Of a progressive JPEG, each of which costs a pass over the picture."""
