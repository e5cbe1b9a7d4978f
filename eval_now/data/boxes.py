"""Face boxes as the benchmark distributes them: pickled dictionaries inside `.npy` files."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_BOX_BYTES, MAX_COORDINATE
from eval_now.io.files import read_bytes, write_bytes_atomic
from flame_assets.inert.arrays import Unread
from flame_assets.inert.files import ReadError
from flame_assets.inert.npy import parse_npy


class Box(NamedTuple):
    """A face box in pixels of the photo."""

    left: float
    top: float
    right: float
    bottom: float


def load_box(path: Path) -> Box:
    """Read the box of one photo: an `.npy` with the dictionary {left, right, top, bottom}.

    Raises:
        UserError: unreadable, malformed, or without an area.
    """
    expected = "expected a box with left, right, top and bottom"
    try:
        content = parse_npy(read_bytes(path, MAX_BOX_BYTES))
    except ReadError as error:
        raise UserError(f"{path} {error}; {expected}") from None
    if isinstance(content, list) and len(content) == 1:
        content = content[0]  # an array of shape (1,)
    if not isinstance(content, dict):
        kind = content.name if isinstance(content, Unread) else type(content).__name__
        raise UserError(f"{path}: {expected}, found {kind}")
    for name in Box._fields:
        value = content.get(name)
        if (
            not isinstance(value, int | float | np.integer | np.floating)
            or not abs(value) < MAX_COORDINATE
        ):
            raise UserError(f"{path}: {expected}, found {name} {str(value)[:40]!r}")
    box = Box(*(float(content[name]) for name in Box._fields))
    if box.right <= box.left or box.bottom <= box.top:
        raise UserError(
            f"{path}: {expected}, left of right and top above bottom; found {tuple(box)}"
        )
    return box


def save_box(path: Path, box: Box) -> None:
    """Write a box as the benchmark distributes it."""
    file = io.BytesIO()
    content = {name: float(value) for name, value in box._asdict().items()}
    np.save(file, np.array(content, dtype=object), allow_pickle=True)
    write_bytes_atomic(path, file.getvalue())
