"""MICA's training data: ArcFace inputs of photos, and FLAME parameters of the people in them.

As MICA's `datasets/creation` writes it and its `datasets/base.py` reads it:

    ROOT/NAME/arcface_input/ACTOR/PHOTO.npy     [3,112,112] float32, RGB in [-1, 1] (norm_crop)
    ROOT/NAME/FLAME_parameters/ACTOR/FIT.npz    betas [400] (300 identity, 100 expression), pose
    LISTS/NAME.npy                              ACTOR -> ([ACTOR/PHOTO.jpg, ...], ACTOR/FIT.npz)

NAME is in capitals (LYHM, STIRLING, ...). The lists are MICA's `datasets/image_paths`; they pair
expressive photos with one neutral fit. Without them every crop of an actor goes with the actor's
only fit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped

from flame_assets.inert.files import ReadError, errors_of, read_regular, shown
from flame_assets.inert.npy import parse_npy, read_npy, read_npz
from mica_ext.errors import UserError

CROPS, FITS = "arcface_input", "FLAME_parameters"
CROP_PX = 112
CROP_BYTES = 1 << 20
SHAPE_COUNT = 300
LARGEST_COEFFICIENT = 30.0
"""In standard deviations; beyond it a number is no identity coefficient."""
TRAINING_SETS = ("LYHM", "D3DFACS", "BU3DFE", "FRGC", "STIRLING", "FACEWAREHOUSE", "BP4D")
"""Of MICA's own training (mica.yml)."""
VALIDATION_SETS = ("FLORENCE",)


class Actor(NamedTuple):
    """One person."""

    data_set: str
    name: str
    crops: tuple[Path, ...]
    """Files of ArcFace inputs."""
    fit: Path
    """File of FLAME parameters."""


def read_actors(
    root: Path, data_sets: Sequence[str], lists: Path | None, *, skip_missing: bool = False
) -> list[Actor]:
    """All actors of some data sets, in the order of their lists (without lists: of their names).

    Args:
        root: holds a folder per data set.
        data_sets: their names.
        lists: folder of MICA's image lists NAME.npy; None: all files in the folders.
        skip_missing: leave out listed crops without file and actors without fit, else refuse them.

    Raises:
        UserError: a folder, a list, a crop or a fit is missing or not what it should be.
    """
    if not root.is_dir():
        raise UserError(f"{root}: expected the folder of MICA's data sets, found no such folder")
    actors: list[Actor] = []
    for given in data_sets:
        name = given.upper()
        folder = root / name
        if not (folder / CROPS).is_dir() or not (folder / FITS).is_dir():
            there = sorted(path.parent.name for path in root.glob(f"*/{CROPS}"))
            raise UserError(
                f"{folder}: expected the folders {CROPS} and {FITS}; data sets there: "
                f"{', '.join(there) or 'none'}; name those to train on with --data-sets"
            )
        listed = _found(folder) if lists is None else _listed(folder, lists / f"{name}.npy")
        actors += _present(listed, skip_missing=skip_missing)
    return actors


def _listed(folder: Path, file: Path) -> list[Actor]:
    """The actors of an image list."""
    expected = "expected MICA's image list, a dict ACTOR -> ([ACTOR/PHOTO.jpg, ...], ACTOR/FIT.npz)"
    if not file.exists():
        raise UserError(f"{file}: no such file; {expected}: give --lists, or leave it out")
    try:
        content = read_npy(file)
    except ReadError as error:
        raise UserError(f"{error}; {expected}") from error
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{file}: {expected}")
    actors = []
    for actor, entry in content.items():
        paired = isinstance(entry, list | tuple) and len(entry) == 2
        photos, fit = entry if paired else (None, None)
        if (
            not isinstance(actor, str)
            or not isinstance(fit, str)
            or not isinstance(photos, list | tuple)
            or not photos
            or not all(isinstance(path, str) for path in photos)
        ):
            raise UserError(f"{file}: {expected}, got another entry for {shown(actor)}")
        crops = tuple(folder / CROPS / _inside(file, path).with_suffix(".npy") for path in photos)
        actors.append(Actor(folder.name, actor, crops, folder / FITS / _inside(file, fit)))
    return actors


def _inside(file: Path, text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in text:
        raise UserError(f"{file}: expected paths ACTOR/FILE below the data set, got {shown(text)}")
    return path


def _found(folder: Path) -> list[Actor]:
    """The actors of the folders."""
    actors = []
    for place in sorted(path for path in (folder / CROPS).iterdir() if path.is_dir()):
        crops = tuple(sorted(place.glob("*.npy")))
        fits = sorted((folder / FITS / place.name).glob("*.npz"))
        if len(fits) > 1:
            raise UserError(
                f"{folder / FITS / place.name}: expected one fit, got {len(fits)}: MICA's image "
                "lists say which one is the neutral face: give their folder with --lists"
            )
        fit = fits[0] if fits else folder / FITS / place.name / "fit.npz"
        if crops:
            actors.append(Actor(folder.name, place.name, crops, fit))
    if not actors:
        raise UserError(f"{folder / CROPS}: expected ACTOR/PHOTO.npy, found none")
    return actors


def _present(actors: list[Actor], *, skip_missing: bool) -> list[Actor]:
    kept = []
    missing: list[Path] = []
    for actor in actors:
        crops = tuple(path for path in actor.crops if path.is_file())
        missing += sorted(set(actor.crops) - set(crops))
        if not actor.fit.is_file():
            missing.append(actor.fit)
        elif crops:
            kept.append(actor._replace(crops=crops))
    if missing and not skip_missing:
        raise UserError(
            f"{missing[0]}: no such file, and {len(missing) - 1} more are missing: complete the "
            "data set, or leave them out with --skip-missing"
        )
    if not kept:
        raise UserError(f"{actors[0].fit.parent}: no actor has both crops and a fit")
    return kept


def read_crop(path: Path) -> Float32[np.ndarray, "3 112 112"]:
    """An ArcFace input: RGB in [-1, 1].

    Raises:
        UserError: unreadable, another shape or type, or other values.
    """
    expected = f"expected an ArcFace input [3,{CROP_PX},{CROP_PX}] of RGB in [-1, 1]"
    try:
        with errors_of(path):
            array = parse_npy(read_regular(path, CROP_BYTES))
    except ReadError as error:
        raise UserError(f"{error}; {expected}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise UserError(f"{path}: {expected}, got {getattr(array, 'dtype', 'no array')}")
    if array.shape == (1, 3, CROP_PX, CROP_PX):
        array = array[0]
    if array.shape != (3, CROP_PX, CROP_PX):
        raise UserError(f"{path}: {expected}, got the shape {array.shape}")
    if not (np.abs(array) <= 1.001).all():
        raise UserError(f"{path}: {expected}, got values from {array.min():g} to {array.max():g}")
    return np.array(array, np.float32)  # a copy: the file's bytes are read-only


def read_shape(path: Path) -> Float32[np.ndarray, "300"]:
    """The identity coefficients of a file of FLAME parameters.

    Raises:
        UserError: unreadable, no `betas`, too few of them, or numbers that are no coefficients.
    """
    expected = f"expected FLAME parameters with betas of {SHAPE_COUNT} or more numbers"
    try:
        held = read_npz(path, ("betas",))
    except ReadError as error:
        raise UserError(f"{error}; {expected}") from error
    betas: Shaped[np.ndarray, "..."] | None = held.get("betas")
    if not isinstance(betas, np.ndarray) or betas.dtype.kind != "f":
        raise UserError(f"{path}: {expected}, found {', '.join(sorted(held)) or 'none'}")
    betas = betas.reshape(-1) if betas.shape[:-1] in ((), (1,)) else betas
    if betas.ndim != 1 or len(betas) < SHAPE_COUNT:
        raise UserError(f"{path}: {expected}, got the shape {betas.shape}")
    shape = betas[:SHAPE_COUNT]
    if not (np.abs(shape) <= LARGEST_COEFFICIENT).all():
        raise UserError(
            f"{path}: expected coefficients in standard deviations, at most "
            f"{LARGEST_COEFFICIENT:g}, got {np.abs(shape).max():g}"
        )
    return np.ascontiguousarray(shape, np.float32)
