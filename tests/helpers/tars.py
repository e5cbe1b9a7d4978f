"""Tars for tests, honest and hostile."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def tar_bytes(members: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of regular files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], **options: int) -> Path:
    """Write `tar_bytes`; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members, **options))
    return path


def with_checksum(header: bytes | bytearray) -> bytes:
    """The header with the checksum that its other fields have."""
    header = bytearray(header)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A ustar header; sizes that octal digits cannot hold are base 256, negative ones too."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)[:512])
    if 0 <= size < 8**11:
        block[124:136] = b"%011o\0" % size
    else:
        block[124:136] = (size % 256**11 | (0x80 if size > 0 else 0xFF) << 88).to_bytes(12, "big")
    block[156:157] = kind
    return with_checksum(block)
