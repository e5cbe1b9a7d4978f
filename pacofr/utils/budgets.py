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
JSON_CONTAINERS = 2_000_000
"""Lists and objects of a JSON file: an empty one takes 3 bytes there and 90 in memory."""
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
CROP_TENSOR_BYTES = 16 * MIB
"""The safetensors beside a labelled crop in a shard; a mesh of 5,023 vertices has 30 kB."""

IMAGE_BYTES = 1024 * MIB
"""A photo's file that its decoder reads piece by piece."""
IMAGE_BYTES_HELD = 512 * MIB
"""A photo's file that is held in memory: PNG, JPEG, WebP, AVIF, HEIC and JPEG 2000."""
IMAGE_SIDE = 32_766
"""OpenCV cuts nothing out of an image with a longer side [px]."""
IMAGE_PIXELS = 120_000_000
"""Above the largest common phone photo, 12,000 x 9,000. Decoders that work in place and the result
take 7 to 10 bytes a pixel, so that 1.2 GiB suffice."""
COPYING_PIXELS = 64_000_000
"""Of WebP, AVIF, HEIC and JPEG 2000, whose decoders keep 16 bytes a pixel."""
DEEP_COLOUR_PIXELS = 48_000_000
"""Of colour images of 16-bit integers or floats that OpenCV decodes: 12 bytes a pixel, the file
beside them."""
DEEP_COLOUR_BYTES = 640 * MIB
"""Of the file of such an image, which is held in memory."""
JPEG_SCANS = 100
"""Of a progressive JPEG; encoders write 10, optimisers up to 64."""
JPEG_SCAN_PIXELS = 3_000_000_000
"""Scans times pixels: each scan passes over all pixels."""
PNG_CHUNKS = 1_000_000
PNG_TEXT_BYTES = MIB
"""Unpacked, of a text chunk that is kept; larger ones are left out."""
PROFILE_BYTES = 32 * MIB
"""Unpacked, of a colour profile that is applied; a larger one is left out."""
TIFF_TAGS = 4096
TIFF_STRIPS = 250_000
"""Strips or tiles of a picture."""
PLAIN_PNM_BYTES = 100 * MIB
"""Of a PNM file of decimal numbers, which Pillow reads at 4 MB a second."""
BMP_RLE_BYTES = 32 * MIB
"""Of a run-length coded BMP, which Pillow reads in Python."""

TAR_BYTES = 1 << 50
"""A source's tar, which is read member by member."""
SLOWEST_BYTES = 16 * 1024
"""A second, below which a web server or store is given up."""
LISTING_BYTES = 64 * MIB
"""A web server's page of links, or another answer that is read at once; of a million files."""
TAR_NAME_BYTES = 64 * 1024
"""Of a member's name or extended header."""
TAR_PADDING_BYTES = 64 * MIB
"""Zeros behind a member; a tar's end takes 10 kB, tapes' up to 1 MB."""
DETECTIONS = 8_000_000
"""Photos, and faces, in one of LAION-Face's files of detections; they have some millions."""
PHOTO_BYTES = 256 * MIB
"""Of a photo among a curation's sources."""
SAMPLE_JSON_BYTES = MIB
"""The JSON beside a photo in a tar."""
SAMPLE_MEMBERS = 64
"""Of one sample of a tar; img2dataset writes 3."""
PARQUET_BYTES = 2048 * MIB
"""A table of metadata beside a tar; img2dataset's have some MB."""
PARQUET_FOOTER_BYTES = 8 * MIB
"""Of its description of itself, which takes a hundred times as much in memory; it has 10 kB."""
PARQUET_LIST = 100_000
"""Row groups, or other lists in that description: a reader makes room for what they claim."""
PARQUET_GROUP_BYTES = 128 * MIB
"""Of the columns that are read of one row group, unpacked; its reader takes four times as much."""
PARQUET_UNPACKED_BYTES = 1024 * MIB
"""Of those columns in all row groups."""
PARQUET_PAGES = 100_000
"""Of those columns in all row groups."""
PARQUET_PAGE_HEADER_BYTES = MIB
"""Texts in a page's statistics make it long."""
METADATA_ROWS = 1_000_000
"""Photos of one tar; img2dataset's have 10,000."""
METADATA_COLUMNS = 1000
METADATA_CHARACTERS = 128 * MIB
"""Of the texts that are kept of a table."""
MARKER_BYTES = 64 * MIB
"""The JSON that says what became of a source's photos."""

LABEL_BYTES = 64 * MIB
"""The PNG of a label map; CelebAMask-HQ's have 5 kB."""
ANNOTATION_BYTES = 256 * MIB
"""A file of the annotations of a data set; WFLW's list has 20 MB."""
ANNOTATION_LINES = 1_000_000
"""Lines of such a file; CelebA's list has 202,599."""
ANNOTATION_LINE = 64 * 1024
"""Characters of one line; WFLW's have 4,000."""
