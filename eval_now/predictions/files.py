"""A folder of predictions: `SUBJECT/CHALLENGE/IMG.obj|.ply` with `IMG.npy|.txt`.

Predictors write `predictions.json` beside them: predictor, data set, unit, which are not neutral.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from eval_now.data.image_list import ImageEntry
from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.files import write_bytes_atomic
from eval_now.io.landmarks import load_landmarks
from eval_now.io.meshes import load_mesh
from eval_now.io.typed_json import decode, read_json

Unit = Literal["m", "cm", "mm"]
UNIT_MM: dict[Unit, float] = {"m": 1000.0, "cm": 10.0, "mm": 1.0}
MANIFEST = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`predictions.json`: what a predictor states about the meshes it wrote."""

    predictor: str
    unit: Unit
    dataset: str | None = None
    """Name of the data folder; earlier versions wrote its whole path, or nothing."""
    fingerprint: str | None = None
    """Identifies the predictor's code and weights; None if it gives none."""
    photos: tuple[tuple[str, str], ...] = ()
    """(image, digest of its photo and face box) of all predictions; earlier versions wrote none."""
    not_neutral: tuple[str, ...] = ()
    """Images whose mesh has an expression."""
    failed: tuple[tuple[str, str], ...] = ()
    """(image, reason) of photos without a prediction."""
    version: Literal[1] = 1


def load_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a predictions folder; None if there is none.

    Raises:
        UserError: it is not a predictions.json of version 1.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return decode(Manifest, read_json(path), path)
    except UserError as error:
        raise UserError(
            f"{error}; correct it, or remove it and give --unit or predict again"
        ) from None


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest."""
    write_bytes_atomic(folder / MANIFEST, (json.dumps(asdict(manifest), indent=1) + "\n").encode())


class PredictionFiles(NamedTuple):
    """Paths of one prediction; two_meshes: an .obj and a .ply exist, and the .obj is used."""

    mesh: Path
    landmarks: Path
    two_meshes: bool


def find_prediction(folder: Path, image: ImageEntry) -> PredictionFiles | str:
    """Find the files of one prediction, suffixes in any case; a string says what is missing."""
    base = folder / image.subject / image.challenge / image.stem
    meshes = [path for suffix in (".obj", ".ply") if (path := find_file(base, suffix))]
    landmarks = [path for suffix in (".npy", ".txt") if (path := find_file(base, suffix))]
    if not meshes and not landmarks:
        return "no prediction"
    if not meshes:
        return "no mesh (.obj or .ply)"
    if not landmarks:
        return "no landmarks (.npy or .txt)"
    return PredictionFiles(meshes[0], landmarks[0], len(meshes) > 1)


def find_file(base: Path, suffix: str) -> Path | None:
    """The file `base` + `suffix`, or with the suffix in other case, e.g. IMG_0001.OBJ."""
    exact = base.with_name(base.name + suffix)
    if exact.is_file() or not base.parent.is_dir():
        return exact if exact.is_file() else None
    for path in sorted(base.parent.iterdir()):
        if path.suffix.lower() == suffix and path.stem == base.name and path.is_file():
            return path
    return None


class LoadedPrediction(NamedTuple):
    """Mesh and landmarks in the prediction's own unit."""

    mesh: Mesh
    landmarks: Float[np.ndarray, "7 3"]


def load_prediction(files: PredictionFiles) -> LoadedPrediction:
    """Read mesh and landmarks of one prediction."""
    return LoadedPrediction(load_mesh(files.mesh), load_landmarks(files.landmarks))
