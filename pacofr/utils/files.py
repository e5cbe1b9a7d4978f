"""Files that are whole or not there: a killed process leaves no half of one."""

import io
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or none.

    Raises:
        OSError: as the system does; what stood there before stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read, too; paths become text."""
    write_atomic(path, (json.dumps(content, indent=1, default=os.fspath) + "\n").encode())


def write_png(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an RGB picture."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    write_atomic(path, stream.getvalue())
