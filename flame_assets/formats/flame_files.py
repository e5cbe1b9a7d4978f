"""The files that FLAME comes in: models, landmark embeddings and vertex masks, as plain arrays.

Models are FLAME 2017 to 2023 Open as .pkl, .npz or the released .zip. The first bytes of a file
tell what it is. Nothing of it is executed or unpacked to disk; see `flame_assets.inert`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from flame_assets.errors import UserError
from flame_assets.formats import chumpy
from flame_assets.formats.chumpy import as_plain_array
from flame_assets.inert.budgets import PICKLE_BYTES
from flame_assets.inert.files import ReadError, errors_of, open_regular, shown
from flame_assets.inert.npy import read_npy, read_npz
from flame_assets.inert.pickles import parse_pickle, read_pickle
from flame_assets.inert.zips import ZipReader

MODEL_FILES = (  # inside the released archives, best first
    "flame2023_open.pkl",
    "flame2023.pkl",
    "generic_model.pkl",
    "flame_neutral.pkl",
    "flame2023_no_jaw.pkl",
    "female_model.pkl",
    "male_model.pkl",
)
MODEL_KEYS = ("v_template", "f", "shapedirs", "posedirs", "weights", "J_regressor", "kintree_table")
OPEN_KEY = "supr_expression_metadata"
"""An entry that FLAME 2023 Open has and no other release."""
MASK_FILES = ("flame_masks.pkl",)
LANDMARK_FILE = "landmark_embedding.npy"
LANDMARK_PLACES = "data/ of DECA's repository, data/FLAME2020/ of MICA's or assets/ of SMIRK's"
LANDMARK_SHAPES = {
    "static_lmk_faces_idx": (51,),
    "static_lmk_bary_coords": (51, 3),
    "dynamic_lmk_faces_idx": (79, 17),
    "dynamic_lmk_bary_coords": (79, 17, 3),
    "full_lmk_faces_idx": (1, 68),
    "full_lmk_bary_coords": (1, 68, 3),
}


class ModelFile(NamedTuple):
    """A model file's entries, and the file or archive member they came from."""

    member: str
    content: Mapping[str, Any]


def read_model(path: Path) -> ModelFile:
    """The entries of a model file; chumpy's and sparse arrays are as they lie in it.

    Raises:
        UserError: it cannot be read or is no FLAME model; the line names what is missing.
    """
    try:
        source = _read_model(path)
    except ReadError as error:
        raise UserError(f"{error}; expected a FLAME .pkl, .npz or .zip") from error
    missing = ", ".join(key for key in MODEL_KEYS if key not in source.content)
    if missing:
        raise UserError(f"{path} is no FLAME model: it lacks {missing}")
    return source


def read_landmarks(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of a landmark embedding, of the shapes `LANDMARK_SHAPES`.

    It may be the .npy of MICA, DECA and SMIRK, or the same entries as .npz or .pkl; each may be an
    array, a torch tensor or lists of rows.

    Raises:
        UserError: the file is missing, cannot be read, or an entry is missing or of another shape.
    """
    if not path.exists():
        raise UserError(
            f"{path} is missing: the landmarks come from {LANDMARK_FILE}, found in "
            f"{LANDMARK_PLACES}; name it with --landmarks FILE"
        )
    expected = f"expected the entries of {LANDMARK_FILE}"
    try:
        content = _read_any(path, LANDMARK_SHAPES)
        if missing := ", ".join(key for key in LANDMARK_SHAPES if key not in content):
            raise ReadError(f"lacks {missing}", path)
        with errors_of(path):
            arrays = {key: as_plain_array(content[key]) for key in LANDMARK_SHAPES}
    except ReadError as error:
        raise UserError(f"{error}; {expected}") from error
    for key, shape in LANDMARK_SHAPES.items():
        if arrays[key].shape != shape:
            raise UserError(f"{path}: expected {key} of {shape}, got {arrays[key].shape}")
    return arrays


def read_masks(path: Path) -> dict[str, Int32[np.ndarray, " _"]]:
    """Vertex ids by region name from FLAME_masks.pkl, or from the FLAME_masks.zip around it.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = _read_any(path, None)
        with errors_of(path):
            arrays = {_region(name): as_plain_array(ids) for name, ids in content.items()}
            return {name: int32(ids).ravel() for name, ids in arrays.items()}
    except ReadError as error:
        raise UserError(f"{error}; expected FLAME_masks.pkl") from error


def float32(array: Shaped[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """The same numbers as float32; a ReadError for NaN and for what float32 cannot hold."""
    if array.dtype.kind not in "fiu":
        raise ReadError(f"holds {array.dtype} where real numbers should be")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ReadError("holds NaN or infinity")
    if array.size and max(abs(float(array.min())), abs(float(array.max()))) > float(
        np.finfo(np.float32).max
    ):
        raise ReadError("holds numbers that are too large")
    return np.ascontiguousarray(array, dtype=np.float32)


def int32(array: Shaped[np.ndarray, "..."]) -> Int32[np.ndarray, "..."]:
    """The same ids as int32; a ReadError for what is no whole number from 0 on."""
    if array.dtype.kind not in "iu":
        raise ReadError("holds vertex or triangle ids that are no whole numbers")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << 31:
        raise ReadError(
            f"holds vertex or triangle ids from {array.min()} to {array.max()}, "
            "expected them from 0 on"
        )
    return np.ascontiguousarray(array, dtype=np.int32)


def _read_model(path: Path) -> ModelFile:
    if _head(path).startswith(b"PK"):
        with errors_of(path), open_regular(path) as file:
            archive = ZipReader(file, PICKLE_BYTES)
            if f"{MODEL_KEYS[0]}.npy" in archive.members:
                return ModelFile(path.name, read_npz(path, {*MODEL_KEYS, OPEN_KEY}))
            member = _find(archive, MODEL_FILES)
            data = archive.read(member, PICKLE_BYTES)
            return ModelFile(member, _entries(parse_pickle(data, keep=chumpy.PACKAGE)))
    with errors_of(path):
        return ModelFile(path.name, _entries(read_pickle(path, keep=chumpy.PACKAGE)))


def _read_any(path: Path, names: Iterable[str] | None) -> dict[str, Any]:
    """The entries `names` (None: all) of a dictionary in a .npy, .npz, .pkl or FLAME_masks.zip."""
    head = _head(path)
    with errors_of(path):
        if head.startswith(b"\x93NUMPY"):
            return _entries(read_npy(path))
        if not head.startswith(b"PK"):
            return _entries(read_pickle(path, keep=chumpy.PACKAGE))
        with open_regular(path) as file:
            archive = ZipReader(file, PICKLE_BYTES)
            if any(name.endswith(".npy") for name in archive.members):
                return read_npz(path, None if names is None else set(names))
            data = archive.read(_find(archive, MASK_FILES), PICKLE_BYTES)
        return _entries(parse_pickle(data, keep=chumpy.PACKAGE))


def _head(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(6)


def _find(archive: ZipReader, wanted: Iterable[str]) -> str:
    members = {PurePosixPath(name).name.lower(): name for name in archive.members}
    found = next((members[name] for name in wanted if name in members), None)
    if found is None:
        raise ReadError(f"holds none of {', '.join(wanted)}")
    return found


def _entries(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ReadError(f"holds {shown(content)} where named arrays should be")
    return {str(key): value for key, value in content.items()}


def _region(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,80}", name):
        raise ReadError(f"names a region {shown(name)!r}, expected letters a-z, digits and _")
    return name
