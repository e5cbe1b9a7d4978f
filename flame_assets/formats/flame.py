"""FLAME's licensed files -> HeadModel, on the machine of the person who holds the licence."""

import dataclasses
import logging
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from flame_assets.errors import UserError, one_line
from flame_assets.formats.chumpy import as_plain_array
from flame_assets.formats.contour_direction import contour_direction_score
from flame_assets.formats.flame_files import (
    LANDMARK_FILE,
    MODEL_KEYS,
    OPEN_KEY,
    ModelFile,
    float32,
    int32,
    read_landmarks,
    read_masks,
    read_model,
)
from flame_assets.inert.files import ReadError
from flame_assets.model.head import JOINT_PARENTS, HeadModel

LOGGER = logging.getLogger(__name__)
ACADEMIC_LICENCE = (
    "FLAME academic model licence, non-commercial; https://flame.is.tue.mpg.de/modellicense.html"
)
OPEN_LICENCE = "FLAME 2023 Open: CC BY 4.0; https://flame.is.tue.mpg.de/modellicense.html"
SHAPE_COUNT = 300  # of FLAME's 400 modes; the others are expressions
SKIN, LIPS, EYES = (0.83, 0.66, 0.57), (0.74, 0.47, 0.45), (0.93, 0.92, 0.90)  # RGB of pictures


class Release(NamedTuple):
    """Which FLAME a file holds."""

    name: str
    version: str
    licence: str


def convert_flame(
    model: Path,
    *,
    landmarks: Path | None = None,
    masks: Path | None = None,
    name: str | None = None,
) -> HeadModel:
    """Convert one FLAME file (.pkl, .npz, .zip) to a HeadModel.

    Args:
        model: the model file.
        landmarks: landmark_embedding.npy; by default the one beside `model`.
        masks: FLAME_masks.pkl or .zip, which gives the regions.
        name: of the head; by default what the content and the file names tell.

    Raises:
        UserError: a file is missing, cannot be read or is no such file.
        ValueError: `name` is none that a head can have.
    """
    source = read_model(model)
    release = identify(model, source)
    embedding = read_landmarks(landmarks or model.parent / LANDMARK_FILE)
    regions = read_masks(masks) if masks else {}
    try:
        head = _assemble(source, embedding, regions, release)
    except ReadError as error:
        raise UserError(f"{model} is no FLAME model: it {error.reason}") from error
    except (ValueError, LookupError, TypeError) as error:
        line = one_line(f"{model} is no FLAME model: it does not fit: {error}")
        raise UserError(line) from error
    score_mm = 1000 * contour_direction_score(head)
    if score_mm < 0:
        LOGGER.warning(
            "%s: the contour table looks made for the opposite yaw (%.2f mm): contour landmarks "
            "0..16 of turned heads are doubtful; please report it",
            release.name,
            score_mm,
        )
    return dataclasses.replace(head, name=name or head.name)


def identify(path: Path, source: ModelFile) -> Release:
    """Name, version and licence, from the content where it tells, else from the file names.

    `generic_model.pkl` alone says nothing; it is taken for the 2020 release, which MICA, DECA and
    SMIRK use.
    """
    stem = PurePosixPath(source.member).stem.lower()
    if OPEN_KEY in source.content or "open" in stem:
        return Release("flame2023-open", "2023 Open", OPEN_LICENCE)
    years = re.findall(r"20(?:17|19|20|23)", f"{path.parent.name} {path.name} {stem}")
    year = years[-1] if years else "2020"
    kind = next((kind for kind in ("female", "male", "no_jaw") if kind in stem), "")
    kind = kind.replace("_", "-") or ("" if year == "2023" else "generic")
    return Release(f"flame{year}-{kind}".removesuffix("-"), year, ACADEMIC_LICENCE)


def _assemble(
    source: ModelFile,
    embedding: dict[str, Shaped[np.ndarray, "..."]],
    regions: dict[str, Int32[np.ndarray, " _"]],
    release: Release,
) -> HeadModel:
    arrays = {key: _entry(source, key) for key in MODEL_KEYS}
    _check_joints(arrays["kintree_table"])
    basis = arrays["shapedirs"]
    if basis.ndim != 3 or basis.shape[2] <= SHAPE_COUNT:
        raise ReadError(f"has shapedirs of {basis.shape}, expected 300 + 100 modes")
    weights = float32(arrays["weights"])
    if weights.shape[1:] != (len(JOINT_PARENTS),):
        raise ReadError(f"has skinning weights of {weights.shape}, expected 5 joints")
    for joint, side in ((3, "left"), (4, "right")):
        regions.setdefault(f"{side}_eyeball", int32(np.flatnonzero(weights[:, joint] > 0.5)))
    return HeadModel(
        name=release.name,
        version=release.version,
        licence=release.licence,
        template=float32(arrays["v_template"]),
        triangles=int32(arrays["f"]),
        shape_basis=float32(basis[:, :, :SHAPE_COUNT]),
        expression_basis=float32(basis[:, :, SHAPE_COUNT:]),
        pose_basis=float32(arrays["posedirs"]),
        joint_regressor=float32(arrays["J_regressor"]),
        skinning_weights=weights,
        landmark_triangles=int32(embedding["static_lmk_faces_idx"]),
        landmark_barycentric=float32(embedding["static_lmk_bary_coords"]),
        contour_triangles=int32(embedding["dynamic_lmk_faces_idx"]),
        contour_barycentric=float32(embedding["dynamic_lmk_bary_coords"]),
        static_contour_triangles=int32(embedding["full_lmk_faces_idx"][0, :17]),
        static_contour_barycentric=float32(embedding["full_lmk_bary_coords"][0, :17]),
        expression_convention="flame",
        expression_names=tuple(f"expression_{i:03d}" for i in range(basis.shape[2] - SHAPE_COUNT)),
        regions=regions,
        colours=_colours(len(weights), regions),
    )


def _entry(source: ModelFile, key: str) -> Shaped[np.ndarray, "..."]:
    try:
        return as_plain_array(source.content[key])
    except ReadError as error:
        raise ReadError(f"{error.reason} ({key})") from error


def _check_joints(table: Shaped[np.ndarray, "..."]) -> None:
    """Compare the parents in kintree_table [2, 5] with FLAME's; the root's may be any."""
    if table.ndim != 2 or table.shape[1] != len(JOINT_PARENTS) or not len(table):
        raise ReadError(f"has a kintree_table of {table.shape}, expected (2, {len(JOINT_PARENTS)})")
    if table[0, 1:].tolist() != list(JOINT_PARENTS[1:]):
        raise ReadError(f"has joints with the parents {table[0].tolist()}")


def _colours(count: int, regions: dict[str, Int32[np.ndarray, " _"]]) -> Float32[np.ndarray, "V 3"]:
    """Plain skin, lips and eyes: for pictures, no claim about anyone."""
    colours = np.tile(np.array(SKIN, dtype=np.float32), (count, 1))
    for name, colour in (("lips", LIPS), ("left_eyeball", EYES), ("right_eyeball", EYES)):
        colours[regions.get(name, [])] = colour
    return colours
