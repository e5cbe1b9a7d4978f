"""The limits of every reader and download of this package: one table.

Honest files stay far below them; a file beyond one is refused in one line. Together they keep
reading or refusing any file within 60 s and 2 GiB on two slow cores.
"""

MIB = 1 << 20

# ---------------------------------------------------------------- pickles
PICKLE_BYTES = 256 * MIB
"""Size of a pickle (FLAME 2020's has 53 MiB), and of what is copied while its values are made."""
PICKLE_OPCODES = 2_000_000
"""Steps of a pickle, also between two batches of a streamed one; a FLAME model takes hundreds."""
PICKLE_DEPTH = 100
"""Containers within containers."""
PICKLE_UNFOLDED = 8_000_000
"""Values within values, shared ones counted each time they occur: what a loop over them sees."""
PICKLE_DIGITS = 1000
"""Digits of a number written as text, and bytes of one written as an integer of any size."""
PICKLE_LINE = 16 * MIB
"""Bytes of a text argument: protocol 0 writes whole arrays as one line."""
PICKLE_SHARED = 1_000_000
"""Objects that a streamed pickle may refer to again."""

# ---------------------------------------------------------------- arrays
NPY_BYTES = 512 * MIB
NPY_HEADER = 64 * 1024
"""Bytes of an .npy header; NumPy writes about a hundred."""
ARRAY_DIMENSIONS = 32
ARRAY_ELEMENTS = 1 << 26
"""Elements of an array that is made from less data: sparse, repeated, nested lists."""

# ---------------------------------------------------------------- zip archives
ZIP_BYTES = 1024 * MIB
"""Size of an .npz, or of an archive with a model."""
ZIP_DIRECTORY = 8 * MIB
"""Bytes of a zip's central directory: about 100,000 members."""
ZIP_MEMBERS = 20_000
ARCHIVE_BYTES = 4096 * MIB
"""Size of a downloaded archive; FLAME's have some hundred MiB."""
ARCHIVE_UNPACKED = 4096 * MIB
"""Bytes of all its members together; they are checked one after another, not kept."""
NPZ_UNPACKED = 512 * MIB
"""Bytes of all members read from one .npz together."""

# ---------------------------------------------------------------- MATLAB's .mat files
MAT_BYTES = 256 * MIB
MAT_UNPACKED = 256 * MIB
"""Bytes of all variables read from one file together."""
MAT_VARIABLES = 10_000
MAT_ELEMENTS = 100_000
"""Arrays within the cells of one file; AFLW names 24,386 pictures."""
MAT_DEPTH = 8
"""Cells within cells."""

# ---------------------------------------------------------------- head folders of the store
MANIFEST_BYTES = 4 * MIB
HEAD_BYTES = 1024 * MIB
"""Bytes of a head's model.safetensors; FLAME's has about 35 MB."""

# ---------------------------------------------------------------- PyTorch checkpoints
TORCH_UNPACKED = 4096 * MIB
"""Bytes of all tensors read from one checkpoint together; each is read when it is asked for."""
TORCH_TENSOR = 1024 * MIB
"""Bytes of one tensor."""
