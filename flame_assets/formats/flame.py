"""FLAME's licensed files -> HeadModel, on the machine of the person who holds the licence.

Reads FLAME 2017 to 2023 Open as .pkl, .npz or the downloaded .zip, the landmark embedding that
MICA and DECA use, and optionally FLAME_masks.pkl. No code of any of these files is run, chumpy is
not needed and nothing is unpacked to disk: see inert_pickle.py.
"""

import dataclasses
import io
import logging
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from flame_assets.errors import UserError
from flame_assets.formats.contour_direction import outline_gain
from flame_assets.formats.pickle_reader import PickleError, read_pickle
from flame_assets.formats.pickled_arrays import as_array, read_member, read_npy, read_npz
from flame_assets.model.head import JOINT_PARENTS, HeadModel

LOGGER = logging.getLogger(__name__)
ACADEMIC_LICENCE = (
    "FLAME academic model licence, non-commercial; https://flame.is.tue.mpg.de/modellicense.html"
)
OPEN_LICENCE = "FLAME 2023 Open: CC BY 4.0; https://flame.is.tue.mpg.de/modellicense.html"

SHAPE_COUNT = 300  # of FLAME's 400 modes; the others are expressions
MAX_BYTES = 1 << 30
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
LANDMARK_FILE = "landmark_embedding.npy"
LANDMARK_PLACES = "data/ of DECA's repository, data/FLAME2020/ of MICA's or assets/ of SMIRK's"

SKIN, LIPS, EYES = (0.83, 0.66, 0.57), (0.74, 0.47, 0.45), (0.93, 0.92, 0.90)  # plain RGB


class Release(NamedTuple):
    """Which FLAME a file holds."""

    name: str
    version: str
    licence: str


class Source(NamedTuple):
    """A model file's content, and the file or archive member it came from."""

    member: str
    content: dict[str, Any]


def convert_flame(
    model: Path,
    *,
    landmarks: Path | None = None,
    masks: Path | None = None,
    name: str | None = None,
) -> HeadModel:
    """Convert one FLAME file (.pkl, .npz, .zip) to a HeadModel.

    `landmarks` is landmark_embedding.npy, by default the one beside `model`. `masks` is
    FLAME_masks.pkl and gives the regions. `name` overrides what the file names suggest; one that
    no head can have is a ValueError.
    """
    source = read_model(model)
    release = identify(model, source)
    embedding = read_landmarks(landmarks or model.parent / LANDMARK_FILE)
    regions = read_masks(masks) if masks else {}
    try:
        head = _assemble(source.content, embedding, regions, release)
    except (PickleError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{model} is no FLAME model: it {_reason(error)}") from error
    gain_mm = 1000 * outline_gain(head)
    if gain_mm < 0:
        LOGGER.warning(
            "%s: the contour table looks made for the opposite yaw (%.2f mm): contour landmarks "
            "0..16 of turned heads are doubtful; please report it",
            release.name,
            gain_mm,
        )
    return dataclasses.replace(head, name=name or head.name)


def read_model(path: Path) -> Source:
    """The keys and values of a model file; arrays are not yet decoded."""
    data = _read(path)
    member = path.name
    try:
        if path.suffix.lower() == ".npz":
            content = read_npz(data, MAX_BYTES)
        elif path.suffix.lower() == ".zip":
            member, content = _from_archive(data)
        else:
            content = read_pickle(data)
    except PickleError as error:
        raise UserError(f"{path} {error}; expected a FLAME .pkl, .npz or .zip") from error
    if not isinstance(content, dict) or not set(MODEL_KEYS) <= content.keys():
        keys = set(content) if isinstance(content, dict) else set()
        missing = ", ".join(key for key in MODEL_KEYS if key not in keys)
        raise UserError(f"{path} is no FLAME model: it lacks {missing}")
    return Source(member, content)


def identify(path: Path, source: Source) -> Release:
    """Name, version and licence, from the content where it tells, else from the file names.

    `generic_model.pkl` alone says nothing; it is taken for the 2020 release, which MICA, DECA and
    SMIRK use.
    """
    stem = PurePosixPath(source.member).stem.lower()
    if "supr_expression_metadata" in source.content or "open" in stem:
        return Release("flame2023-open", "2023 Open", OPEN_LICENCE)
    years = re.findall(r"20(?:17|19|20|23)", f"{path.parent.name} {path.name} {stem}")
    year = years[-1] if years else "2020"
    kind = next((kind for kind in ("female", "male", "no_jaw") if kind in stem), "")
    kind = kind.replace("_", "-") or ("" if year == "2023" else "generic")
    return Release(f"flame{year}-{kind}".removesuffix("-"), year, ACADEMIC_LICENCE)


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """The arrays of landmark_embedding.npy: static, dynamic and full faces and weights."""
    if not path.is_file():
        raise UserError(
            f"{path} is missing: the landmarks come from {LANDMARK_FILE}, found in "
            f"{LANDMARK_PLACES}; name it with --landmarks FILE"
        )
    shapes = {
        "static_lmk_faces_idx": (51,),
        "static_lmk_bary_coords": (51, 3),
        "dynamic_lmk_faces_idx": (79, 17),
        "dynamic_lmk_bary_coords": (79, 17, 3),
        "full_lmk_faces_idx": (1, 68),
        "full_lmk_bary_coords": (1, 68, 3),
    }
    try:
        content = read_npy(_read(path))
        arrays = {key: as_array(content[key]) for key in shapes}
    except PickleError as error:
        raise UserError(f"{path} {error}; expected MICA's landmark_embedding.npy") from error
    except (LookupError, TypeError) as error:
        raise UserError(f"{path} lacks {error}; expected MICA's landmark_embedding.npy") from error
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise UserError(f"{path}: expected {key} of {shape}, got {arrays[key].shape}")
    return arrays


def read_masks(path: Path) -> dict[str, Int32[np.ndarray, " _"]]:
    """Vertex ids by region name from FLAME_masks.pkl (or FLAME_masks.zip)."""
    try:
        if path.suffix.lower() == ".zip":
            _, content = _from_archive(_read(path), ("flame_masks.pkl",))
        else:
            content = read_pickle(_read(path))
        return {key: _int32(as_array(ids)).ravel() for key, ids in content.items()}
    except (PickleError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is no FLAME_masks.pkl: it {_reason(error)}") from error


def _assemble(
    content: dict[str, Any],
    embedding: dict[str, np.ndarray],
    regions: dict[str, np.ndarray],
    release: Release,
) -> HeadModel:
    arrays = {key: as_array(content[key]) for key in MODEL_KEYS}
    parents = tuple(arrays["kintree_table"][0].astype(np.int32).tolist())
    if parents[1:] != JOINT_PARENTS[1:]:
        raise PickleError(f"has joints with the parents {parents}")
    basis = arrays["shapedirs"]
    if basis.ndim != 3 or basis.shape[2] <= SHAPE_COUNT:
        raise PickleError(f"has shapedirs of {basis.shape}, expected 300 + 100 modes")
    weights = _float32(arrays["weights"])
    if weights.shape[1:] != (len(JOINT_PARENTS),):
        raise PickleError(f"has skinning weights of {weights.shape}, expected 5 joints")
    for joint, side in ((3, "left"), (4, "right")):
        regions.setdefault(f"{side}_eyeball", _int32(np.flatnonzero(weights[:, joint] > 0.5)))
    triangles = _int32(arrays["f"])
    return HeadModel(
        name=release.name,
        version=release.version,
        licence=release.licence,
        template=_float32(arrays["v_template"]),
        triangles=triangles,
        shape_basis=_float32(basis[:, :, :SHAPE_COUNT]),
        expression_basis=_float32(basis[:, :, SHAPE_COUNT:]),
        pose_basis=_float32(arrays["posedirs"]),
        joint_regressor=_float32(arrays["J_regressor"]),
        skinning_weights=weights,
        landmark_triangles=_int32(embedding["static_lmk_faces_idx"]),
        landmark_barycentric=_float32(embedding["static_lmk_bary_coords"]),
        contour_triangles=_int32(embedding["dynamic_lmk_faces_idx"]),
        contour_barycentric=_float32(embedding["dynamic_lmk_bary_coords"]),
        static_contour_triangles=_int32(embedding["full_lmk_faces_idx"][0, :17]),
        static_contour_barycentric=_float32(embedding["full_lmk_bary_coords"][0, :17]),
        expression_convention="flame",
        expression_names=tuple(f"expression_{i:03d}" for i in range(basis.shape[2] - SHAPE_COUNT)),
        regions=regions,
        colours=_colours(len(weights), regions),
    )


def _colours(count: int, regions: dict[str, np.ndarray]) -> Float32[np.ndarray, "V 3"]:
    """Plain skin, lips and eyes: for pictures, no claim about anyone."""
    colours = np.tile(np.array(SKIN, dtype=np.float32), (count, 1))
    for name, colour in (("lips", LIPS), ("left_eyeball", EYES), ("right_eyeball", EYES)):
        colours[regions.get(name, [])] = colour
    return colours


def _from_archive(data: bytes, wanted: Iterable[str] = MODEL_FILES) -> Source:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {
                PurePosixPath(info.filename).name.lower(): info for info in archive.infolist()
            }
            info = next((members[name] for name in wanted if name in members), None)
            if info is None:
                raise PickleError(f"holds none of {', '.join(wanted)}")
            return Source(info.filename, read_pickle(read_member(archive, info, MAX_BYTES)))
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise PickleError("is no readable zip file") from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB; expected a FLAME file")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def _int32(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iu" or (array.size and int(array.max()) >= 1 << 31):
        raise PickleError("holds vertex or triangle ids that are no whole numbers")
    return np.ascontiguousarray(array, dtype=np.int32)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, PickleError) else f"does not fit: {error}"
