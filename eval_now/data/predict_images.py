"""Running a predictor over the benchmark's photos, resumable image by image."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from eval_now.data.dataset import NowDataset
from eval_now.data.image_list import ImageEntry
from eval_now.data.predictions import (
    UNIT_MM,
    Manifest,
    find_prediction,
    load_manifest,
    load_prediction,
    save_manifest,
)
from eval_now.data.predictors import (
    NoFaceError,
    Photo,
    Prediction,
    fingerprint_of,
    load_predictor,
    validate_prediction,
)
from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_ply


def predict_images(
    name: str, dataset: NowDataset, images: list[ImageEntry], folder: Path, console: Console
) -> Manifest:
    """Predict the images that have no usable prediction in `folder` yet."""
    before = load_manifest(folder)
    _refuse_foreign_files(folder, images, before)
    todo = [image for image in images if not _is_usable(folder, image)]
    if todo:
        dataset.check_photos()
    predict = load_predictor(name)
    manifest = Manifest(
        predictor=name,
        unit="mm",
        dataset=str(dataset.root.resolve()),
        fingerprint=fingerprint_of(predict),
    )
    if before is not None:
        _require_same_source(folder, before, manifest)
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
                photo = Photo(image.name, dataset.photo_file(image), dataset.box(image))
                outcome = predict(photo)
            except (NoFaceError, UserError) as error:
                outcome = str(error) or "no face found"
            if not isinstance(outcome, str):
                outcome = validate_prediction(outcome, f"--predictor {name}, {image.name}")
            before, manifest = manifest, _record_outcome(manifest, image.name, outcome)
            if manifest != before:
                save_manifest(folder, manifest)
            if not isinstance(outcome, str):
                _save_prediction(folder / image.name, outcome)
            progress.advance(task)
    return manifest


def _refuse_foreign_files(folder: Path, images: list[ImageEntry], before: Manifest | None) -> None:
    """Refuse files that no predictor wrote: they would be overwritten or mixed with new ones."""
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


def _require_same_source(folder: Path, before: Manifest, now: Manifest) -> None:
    """Refuse to add to predictions of another predictor, model or data set."""
    for origin, old, new in (
        ("by the predictor", before.predictor, now.predictor),
        ("of the data in", before.dataset, now.dataset),
        ("by the model", before.fingerprint, now.fingerprint),
    ):
        if old is not None and new is not None and old != new:
            raise UserError(
                f"{folder}: these predictions were made {origin} '{old}', not '{new}'; "
                "give another folder (--out, --predictions) or delete this one"
            )


def _is_usable(folder: Path, image: ImageEntry) -> bool:
    """Whether a readable prediction exists."""
    files = find_prediction(folder, image)
    if isinstance(files, str):
        return False
    try:
        load_prediction(files)
    except UserError:
        return False
    return True


def _record_outcome(manifest: Manifest, name: str, outcome: Prediction | str) -> Manifest:
    """The manifest with the outcome of one image; a string is the reason of a failure."""
    failed = {image: reason for image, reason in manifest.failed if image != name}
    not_neutral = set(manifest.not_neutral) - {name}
    if isinstance(outcome, str):
        failed[name] = outcome
    elif outcome.neutral is False:
        not_neutral.add(name)
    return replace(
        manifest, not_neutral=tuple(sorted(not_neutral)), failed=tuple(sorted(failed.items()))
    )


def _save_prediction(base: Path, prediction: Prediction) -> None:
    """Write one prediction in mm, landmarks last, so that an interrupted one is not usable."""
    to_mm = UNIT_MM[prediction.unit]
    mesh = Mesh(prediction.vertices * to_mm, prediction.triangles)
    save_ply(base.with_suffix(".ply"), mesh)
    save_landmarks(base.with_suffix(".npy"), prediction.landmarks * to_mm)
