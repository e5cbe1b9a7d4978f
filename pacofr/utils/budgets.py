"""What reading one file of other people may cost: bytes, pixels, members, depth.

Each reader stops at its budget with one line. Together they keep any single input below 60 s and
2 GiB on two slow cores.
"""

MIB = 2**20

PTS_BYTES = MIB
"""A `.pts` landmark file; 68 points need 2 kB."""
TASK_BYTES = 32 * MIB
"""A `.task` file of networks, packed or unpacked; Face Mesh's has 3.8 MB."""

JSON_BYTES = 64 * MIB
"""A JSON file: an index of 400,000 shards, or the scores of as many photos."""
JSON_DEPTH = 32
"""Lists and objects within each other in a JSON file."""
CONFIG_BYTES = MIB
"""A model's config.json; it has 1 kB."""
METRICS_LINE = MIB
"""Characters of one line of metrics.jsonl; it has 600."""
INDEX_BYTES = 8192 * MIB
"""index.npy, which is mapped into memory, not read: 500 million crops."""
CROP_BYTES = 16 * MIB
"""The JPEG of one crop in a shard; it has 20 kB."""
CROP_JSON_BYTES = MIB
"""The JSON beside a crop in a shard."""
