"""How often a JPEG passes over its pixels: progressive files may hold any number of scans."""

STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a length: TEM and the restart markers."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9


def count_scans(data: bytes, limit: int) -> int:
    """Scans of the first image of a JPEG file, counted up to `limit` + 1."""
    if data.count(b"\xff\xda") <= limit:  # an upper bound: thumbnails hold scans, too
        return data.count(b"\xff\xda")
    at, scans = 2, 0
    while scans <= limit:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            break
        marker = data[at + 1]
        if marker == END_OF_IMAGE:
            break
        if marker in STANDALONE or marker in (0x00, 0xFF):  # stuffed data or fill bytes
            at += 1 if marker == 0xFF else 2
            continue
        scans += marker == START_OF_SCAN
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return scans
