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

Unit = Literal["m", "cm", "mm"]
UNIT_MM: dict[Unit, float] = {"m": 1000.0, "cm": 10.0, "mm": 1.0}
MANIFEST = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`predictions.json`: what a predictor states about the meshes it wrote."""

    predictor: str
    unit: Unit
    dataset: str | None = None
    """Data folder of the photos; None in files of earlier versions."""
    fingerprint: str | None = None
    """Identifies the predictor's code and weights; None if it gives none."""
    not_neutral: tuple[str, ...] = ()
    """Images whose mesh has an expression."""
    failed: tuple[tuple[str, str], ...] = ()
    """(image, reason) of photos without a prediction."""
    version: int = 1


def load_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a predictions folder; None if there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["version"] != 1 or content["unit"] not in UNIT_MM:
            raise KeyError("version")
        return Manifest(
            predictor=str(content["predictor"]),
            unit=content["unit"],
            dataset=_text_or_none(content.get("dataset")),
            fingerprint=_text_or_none(content.get("fingerprint")),
            not_neutral=tuple(str(name) for name in content["not_neutral"]),
            failed=tuple((str(name), str(reason)) for name, reason in content["failed"]),
        )
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: not a predictions.json of version 1; remove it or predict again"
        ) from None


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest."""
    write_bytes_atomic(folder / MANIFEST, (json.dumps(asdict(manifest), indent=1) + "\n").encode())


class PredictionFiles(NamedTuple):
    """Paths of one prediction; two_meshes: an .obj and a .ply exist, and the .obj is used."""

    mesh: Path
    landmarks: Path
    two_meshes: bool


def find_prediction(folder: Path, image: ImageEntry) -> PredictionFiles | str:
    """Find the files of one prediction; a string says what is missing."""
    base = folder / image.subject / image.challenge / image.stem
    meshes = [
        path
        for path in (base.with_name(base.name + end) for end in (".obj", ".ply"))
        if path.is_file()
    ]
    points = [
        path
        for path in (base.with_name(base.name + end) for end in (".npy", ".txt"))
        if path.is_file()
    ]
    if not meshes and not points:
        return "no prediction"
    if not meshes:
        return "no mesh (.obj or .ply)"
    if not points:
        return "no landmarks (.npy or .txt)"
    return PredictionFiles(meshes[0], points[0], len(meshes) > 1)


class LoadedPrediction(NamedTuple):
    """Mesh and landmarks in the prediction's own unit."""

    mesh: Mesh
    landmarks: Float[np.ndarray, "7 3"]


def load_prediction(files: PredictionFiles) -> LoadedPrediction:
    """Read mesh and landmarks of one prediction."""
    return LoadedPrediction(load_mesh(files.mesh), load_landmarks(files.landmarks))
