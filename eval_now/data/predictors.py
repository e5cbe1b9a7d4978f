"""Methods that make predictions: found by name through the entry-point group `eval_now.predictors`.

An entry point names a factory `factory(argument: str | None) -> Predict`. A predictor gets one
photo and its face box and returns the neutral face: identity only, no expression, no pose needed.
It may have an attribute `fingerprint: str` that changes with its code and weights, so that
predictions of another model are never taken for its own.
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

from eval_now.data.boxes import Box
from eval_now.data.dataset import ImageEntry, NowDataset
from eval_now.data.predictions import (
    UNIT_MM,
    Manifest,
    Unit,
    find_prediction,
    load_manifest,
    load_prediction,
    save_manifest,
)
from eval_now.errors import UserError
from eval_now.io.landmarks import SMALLEST_FACE, save_npy
from eval_now.io.meshes import FEWEST_TRIANGLES, Mesh, save_ply
from eval_now.io.obj import LARGEST_NUMBER

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


def fingerprint_of(predict: Predict) -> str | None:
    """What a predictor says of its code and weights, if anything."""
    fingerprint = getattr(predict, "fingerprint", None)
    return None if fingerprint is None else str(fingerprint)


def predict_images(
    name: str, dataset: NowDataset, images: list[ImageEntry], folder: Path, console: Console
) -> Manifest:
    """Predict what is not there yet; stopping and starting again continues."""
    before = load_manifest(folder)
    _refuse_foreign_files(folder, images, before)
    todo = [image for image in images if not _is_usable(folder, image)]
    if todo:
        dataset.check_photos()
    predict = find_predictor(name)
    manifest = Manifest(
        predictor=name,
        unit="mm",
        dataset=str(dataset.root.resolve()),
        fingerprint=fingerprint_of(predict),
    )
    if before is not None:
        _must_be_alike(folder, before, manifest)
        manifest = before
    if len(todo) < len(images):
        console.print(
            f"{len(images) - len(todo)} of {len(images)} predictions are already in {folder}; "
            "delete it to predict anew",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if before is None:
        save_manifest(folder, manifest)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"predicting with {name}", total=len(todo))
        for image in todo:
            try:
                photo = Photo(image.name, dataset.picture(image), dataset.box(image))
                outcome = predict(photo)
            except (NoFaceError, UserError) as error:
                outcome = str(error) or "no face found"
            if not isinstance(outcome, str):
                outcome = checked(outcome, f"--predictor {name}, {image.name}")
            before, manifest = manifest, _noted(manifest, image.name, outcome)
            if manifest != before:
                save_manifest(folder, manifest)
            if not isinstance(outcome, str):
                _save_prediction(folder / image.name, outcome)
            progress.advance(task)
    return manifest


def _refuse_foreign_files(folder: Path, images: list[ImageEntry], before: Manifest | None) -> None:
    """Files that no predictor wrote would be overwritten, or paired with what it writes."""
    foreign = (".obj", ".txt") if before is not None else (".obj", ".ply", ".npy", ".txt")
    for image in images:
        base = folder / image.subject / image.challenge / image.stem
        for suffix in foreign:
            path = base.with_name(base.name + suffix)
            if path.exists():
                raise UserError(
                    f"{path}: not written by a predictor; leave --predictor out to score it, "
                    f"or give the predictor another folder (--out, --predictions)"
                )


def _must_be_alike(folder: Path, before: Manifest, now: Manifest) -> None:
    """Predictions of another method, model or data set are not mixed with new ones."""
    for what, old, new in (
        ("by the predictor", before.predictor, now.predictor),
        ("of the data in", before.dataset, now.dataset),
        ("by the model", before.fingerprint, now.fingerprint),
    ):
        if old is not None and new is not None and old != new:
            raise UserError(
                f"{folder}: these predictions were made {what} '{old}', not '{new}'; "
                "give another folder (--out, --predictions) or delete this one"
            )


def _is_usable(folder: Path, image: ImageEntry) -> bool:
    """Whether a prediction is there and can be read."""
    files = find_prediction(folder, image)
    if isinstance(files, str):
        return False
    try:
        load_prediction(files)
    except UserError:
        return False
    return True


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


def checked(outcome: object, who: str) -> Prediction | str:
    """A prediction that can be saved and read again, or why this photo has none.

    Shapes, triangles and unit are the same for every photo: there a mistake raises at once.
    """
    expected = f"{who}: expected a Prediction with"
    if not isinstance(outcome, Prediction):
        raise UserError(f"{expected} a mesh and landmarks, found {type(outcome).__name__}")
    vertices, triangles, landmarks = (np.asarray(array) for array in outcome[:3])
    if outcome.unit not in UNIT_MM:
        raise UserError(f"{expected} the unit m, cm or mm, found {outcome.unit!r}")
    if landmarks.shape != (7, 3) or landmarks.dtype.kind not in "fiu":
        raise UserError(f"{expected} landmarks (7, 3), found {landmarks.dtype}{landmarks.shape}")
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.dtype.kind not in "fiu":
        raise UserError(f"{expected} vertices (V, 3), found {vertices.dtype}{vertices.shape}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        raise UserError(f"{expected} triangles (F, 3), found {triangles.dtype}{triangles.shape}")
    if len(triangles) < FEWEST_TRIANGLES:
        raise UserError(f"{expected} {FEWEST_TRIANGLES} or more triangles, found {len(triangles)}")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise UserError(
            f"{expected} triangles of the vertices 0 to {len(vertices) - 1}, "
            f"found {triangles.min()} to {triangles.max()}"
        )
    largest = LARGEST_NUMBER / UNIT_MM[outcome.unit]
    for what, values in (("vertices", vertices), ("landmarks", landmarks)):
        if not (np.abs(values.astype(np.float64)) < largest).all():
            return f"the predictor's {what} are not finite"
    if np.ptp(landmarks, axis=0).max() * UNIT_MM[outcome.unit] < SMALLEST_FACE:
        return "the predictor's landmarks are all the same point"
    return outcome._replace(vertices=vertices, triangles=triangles, landmarks=landmarks)


def _save_prediction(base: Path, prediction: Prediction) -> None:
    """Write one prediction in mm, landmarks last: half a prediction is no prediction."""
    to_mm = UNIT_MM[prediction.unit]
    mesh = Mesh(prediction.vertices * to_mm, prediction.triangles)
    save_ply(base.with_suffix(".ply"), mesh)
    save_npy(base.with_suffix(".npy"), prediction.landmarks * to_mm)
