"""Faces cut out of photos with their 478 points: JPEGs and arrays, in memory and in one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_type_hints

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flame_assets.inert.files import ReadError, read_regular
from mica_ext.errors import UserError
from pacofr.utils.files import write_atomic

JPEG_QUALITY = 95
STORE_BYTES = 1 << 36
"""Of a file; 100,000 faces take 3 GB."""


class LabelledFace(NamedTuple):
    """One face; points count in the pixels of its picture."""

    picture: UInt8[np.ndarray, "H W 3"]
    points: Float[np.ndarray, "478 3"]
    """x, y [px] and depth in the same unit, larger is farther."""
    five: Float[np.ndarray, "5 2"]
    """The detector's points [px]."""
    visible: Bool[np.ndarray, "478"]
    """Not hidden by the head itself."""


@dataclass(frozen=True)
class FaceStore:
    """N faces."""

    jpeg: UInt8[np.ndarray, " bytes"]
    """All pictures, one after the other."""
    ends: Int64[np.ndarray, " N"]
    """Where each of them ends."""
    points: Float32[np.ndarray, "N 478 3"]
    five: Float32[np.ndarray, "N 5 2"]
    visible: Bool[np.ndarray, "N 478"]

    def __len__(self) -> int:
        return len(self.ends)

    def face(self, index: int) -> LabelledFace:
        """Face number `index`."""
        start = int(self.ends[index - 1]) if index else 0
        decoded = cv2.imdecode(self.jpeg[start : int(self.ends[index])], cv2.IMREAD_COLOR_RGB)
        picture = np.asarray(decoded, np.uint8)
        return LabelledFace(picture, self.points[index], self.five[index], self.visible[index])


def make_store(faces: Sequence[LabelledFace]) -> FaceStore:
    """Pack faces."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    packed = [
        cv2.imencode(".jpg", cv2.cvtColor(face.picture, cv2.COLOR_RGB2BGR), quality)[1]
        for face in faces
    ]
    return FaceStore(
        np.concatenate([np.zeros(0, np.uint8), *packed]),
        np.cumsum([len(data) for data in packed], dtype=np.int64),
        np.array([face.points for face in faces], np.float32).reshape(-1, 478, 3),
        np.array([face.five for face in faces], np.float32).reshape(-1, 5, 2),
        np.array([face.visible for face in faces], bool).reshape(-1, 478),
    )


def join_stores(stores: Sequence[FaceStore]) -> FaceStore:
    """All faces in one store."""
    starts = np.cumsum([0, *(len(store.jpeg) for store in stores)])[:-1]
    return FaceStore(
        np.concatenate([store.jpeg for store in stores]),
        np.concatenate([store.ends + start for store, start in zip(stores, starts, strict=True)]),
        np.concatenate([store.points for store in stores]),
        np.concatenate([store.five for store in stores]),
        np.concatenate([store.visible for store in stores]),
    )


def save_store(store: FaceStore, path: Path) -> None:
    """Write a store as safetensors, whole or not at all."""
    arrays = vars(store) | {"visible": store.visible.astype(np.uint8)}
    write_atomic(path, save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def load_store(path: Path) -> FaceStore:
    """Read what `save_store` wrote.

    Raises:
        UserError: the file cannot be read, or is damaged.
    """
    try:
        arrays = load(read_regular(path, STORE_BYTES))
        arrays["visible"] = arrays["visible"].astype(bool)
        store = FaceStore(**arrays)
        _check(store)
    except (ReadError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: expected labelled faces of this run ({error}); delete the file, the same "
            "command makes it again"
        ) from error
    return store


def _check(store: FaceStore) -> None:
    """Raise ValueError for arrays of other types or shapes, or pictures outside of the bytes."""
    for name, kind in get_type_hints(FaceStore).items():
        if not isinstance(getattr(store, name), kind):
            raise ValueError(f"{name} is of another type or shape")
    bounds = np.concatenate([[0], store.ends, [len(store.jpeg)]])
    if len({len(store), len(store.points), len(store.five), len(store.visible)}) > 1:
        raise ValueError("its arrays are of different lengths")
    if (np.diff(bounds[:-1]) < 1).any() or bounds[-1] < bounds[-2]:
        raise ValueError("its pictures overlap")
