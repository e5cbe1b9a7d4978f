"""Methods that make predictions: found by name through the entry-point group `eval_now.predictors`.

An entry point names a factory `factory(argument: str | None) -> Predict`. A predictor gets one
photo and its face box and returns the neutral face: identity only, no expression, no pose needed.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import Progress

from eval_now.boxes import Box
from eval_now.dataset import ImageEntry, NowDataset
from eval_now.errors import UserError
from eval_now.landmarks import save_npy
from eval_now.meshes import Mesh, save_ply
from eval_now.predictions import (
    UNIT_MM,
    Manifest,
    Unit,
    find_prediction,
    load_manifest,
    save_manifest,
)

GROUP = "eval_now.predictors"


class Photo(NamedTuple):
    """One picture of the benchmark; box: the distributed face box, where there is one."""

    name: str
    path: Path
    box: Box | None


class Prediction(NamedTuple):
    """A predicted face; landmarks: the seven NoW points; neutral: None where unknown."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    landmarks: Float[np.ndarray, "7 3"]
    unit: Unit
    neutral: bool | None


Predict = Callable[[Photo], Prediction]


class NoFaceError(Exception):
    """A predictor found no face in a photo; like an unreadable photo, it counts as missing."""


def find_predictor(name: str) -> Predict:
    """Predictor `NAME` or `NAME:ARGUMENT`, e.g. `mica_ext:runs/x/model`."""
    short, _, argument = name.partition(":")
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if short not in found:
        known = ", ".join(sorted(found)) or "none"
        raise UserError(
            f"--predictor {short}: not registered (entry-point group {GROUP}); known: {known}"
        )
    return found[short].load()(argument or None)


def predict_images(
    name: str, dataset: NowDataset, images: list[ImageEntry], folder: Path, console: Console
) -> Manifest:
    """Predict what is not there yet; stopping and starting again continues."""
    before = load_manifest(folder)
    if before is not None and before.predictor != name:
        raise UserError(
            f"{folder}: holds predictions of '{before.predictor}', not '{name}'; "
            "choose another --out"
        )
    todo = [image for image in images if isinstance(find_prediction(folder, image), str)]
    if not todo and before is not None:
        return before
    if len(todo) < len(images) and before is None:
        raise UserError(
            f"{folder}: holds predictions of unknown origin (no predictions.json); "
            "choose another --out"
        )
    predict = find_predictor(name)
    manifest = before or Manifest(predictor=name, unit="mm")
    save_manifest(folder, manifest)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"predicting with {name}", total=len(todo))
        for image in todo:
            try:
                photo = Photo(image.name, dataset.picture(image), dataset.box(image))
                outcome = predict(photo)
            except (NoFaceError, UserError) as error:
                outcome = str(error) or "no face found"
            before, manifest = manifest, _noted(manifest, image.name, outcome)
            if manifest != before:
                save_manifest(folder, manifest)
            if not isinstance(outcome, str):
                _save_prediction(folder / image.name, outcome)
            progress.advance(task)
    return manifest


def _noted(manifest: Manifest, name: str, outcome: Prediction | str) -> Manifest:
    """The manifest with one image's outcome; a string says why there is no prediction."""
    failed = {one: reason for one, reason in manifest.failed if one != name}
    not_neutral = set(manifest.not_neutral) - {name}
    if isinstance(outcome, str):
        failed[name] = outcome
    elif outcome.neutral is False:
        not_neutral.add(name)
    return replace(
        manifest, not_neutral=tuple(sorted(not_neutral)), failed=tuple(sorted(failed.items()))
    )


def _save_prediction(base: Path, prediction: Prediction) -> None:
    """Write one prediction in mm, landmarks last: half a prediction is no prediction."""
    to_mm = UNIT_MM[prediction.unit]
    mesh = Mesh(prediction.vertices * to_mm, prediction.triangles)
    save_ply(base.with_suffix(".ply"), mesh)
    save_npy(base.with_suffix(".npy"), prediction.landmarks * to_mm)
