"""What reading one file of other people may cost: bytes, pixels, members, depth.

Each reader stops at its budget with one line. Together they keep any single input below 60 s and
2 GiB on two slow cores.
"""

MIB = 2**20

PTS_BYTES = MIB
"""A `.pts` landmark file; 68 points need 2 kB."""
TASK_BYTES = 32 * MIB
"""A `.task` file of networks, packed or unpacked; Face Mesh's has 3.8 MB."""
