"""Running a predictor over the benchmark's photos, resumable image by image."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from eval_now.data.boxes import Box
from eval_now.data.dataset import NowDataset
from eval_now.data.image_issues import relative_reason
from eval_now.data.image_list import ImageEntry
from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_ply
from eval_now.io.terminal import print_line, progress
from eval_now.predictions.files import (
    UNIT_MM,
    Manifest,
    find_file,
    find_prediction,
    load_manifest,
    load_prediction,
    save_manifest,
)
from eval_now.predictions.fingerprints import same_fingerprint
from eval_now.predictions.predictors import (
    NoFaceError,
    Photo,
    Predict,
    Prediction,
    fingerprint_of,
    load_predictor,
    validate_prediction,
)


def predict_images(
    name: str, dataset: NowDataset, images: list[ImageEntry], folder: Path, console: Console
) -> Manifest:
    """Predict the images that have no usable prediction in `folder` yet.

    Raises:
        UserError: the folder holds files of another predictor, model or data set, or of none.
    """
    before = load_manifest(folder)
    _refuse_foreign_files(folder, images, before)
    usable = [image for image in images if _is_usable(folder, image)]
    todo = [image for image in images if image not in set(usable)]
    if todo:
        dataset.check_photos()
    predict = load_predictor(name)
    manifest = Manifest(
        predictor=name,
        unit="mm",
        dataset=dataset.root.resolve().name,
        fingerprint=fingerprint_of(predict),
    )
    if before is not None:
        _require_same_source(folder, before, manifest)
        _require_same_photos(folder, before, dataset, usable)
        manifest = before
    if usable:
        print_line(
            console,
            f"{len(usable)} of {len(images)} predictions are already in {folder}; "
            "delete it to predict anew",
        )
    if before is None:
        save_manifest(folder, manifest)
    with progress(f"predicting with {name}", len(todo)) as advance:
        for image in todo:
            outcome = _predict(predict, name, dataset, image)
            manifest = _record_outcome(manifest, image.name, outcome)
            save_manifest(folder, manifest)
            if not isinstance(outcome, str):
                _save_prediction(folder / image.name, outcome.prediction)
            advance(1)
    return manifest


class _Outcome(NamedTuple):
    """A prediction and the digest of what it was made of."""

    prediction: Prediction
    photo: str


def _predict(predict: Predict, name: str, dataset: NowDataset, image: ImageEntry) -> _Outcome | str:
    """The outcome of one image; a string is the reason why there is none."""
    try:
        photo = Photo(image.name, dataset.photo_file(image), dataset.box(image))
        prediction = predict(photo)
    except (NoFaceError, UserError) as error:
        return relative_reason(error, dataset.root) or "no face found"
    prediction = validate_prediction(prediction, f"--predictor {name}, {image.name}")
    if isinstance(prediction, str):
        return prediction
    return _Outcome(prediction, photo_digest(photo.path, photo.box))


def photo_digest(path: Path, box: Box | None) -> str:
    """Identifies a photo and its face box: SHA-256 of the file's content and the box, as hex."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(f" {box}".encode())
    return digest.hexdigest()


def _is_of_photo(recorded: str, path: Path, box: Box | None) -> bool:
    """Whether a recorded digest is that of the photo and box as they are now."""
    if len(recorded) == _HEAD_DIGITS:
        return recorded == _head_digest(path, box)
    return recorded == photo_digest(path, box)


_HEAD_DIGITS = 16


def _head_digest(path: Path, box: Box | None) -> str:
    """The digest of earlier versions: of the photo's size, its first 64 KiB and the box."""
    with path.open("rb") as file:
        head = file.read(2**16)
    content = f"{path.stat().st_size} {box} ".encode() + head
    return hashlib.sha256(content).hexdigest()[:_HEAD_DIGITS]


def _refuse_foreign_files(folder: Path, images: list[ImageEntry], before: Manifest | None) -> None:
    """Refuse files that no predictor wrote: they would be overwritten or mixed with new ones."""
    foreign = (".obj", ".txt") if before is not None else (".obj", ".ply", ".npy", ".txt")
    for image in images:
        base = folder / image.subject / image.challenge / image.stem
        for suffix in foreign:
            path = find_file(base, suffix)
            if path is not None:
                raise UserError(
                    f"{path}: not written by a predictor; leave --predictor out to score it, "
                    f"or give the predictor another folder (--out, --predictions)"
                )


def _require_same_source(folder: Path, before: Manifest, now: Manifest) -> None:
    """Refuse to add to predictions of another predictor or model."""
    if before.predictor is not None and before.predictor != now.predictor:
        how = f"by the predictor '{before.predictor}', not '{now.predictor}'"
        raise _made_otherwise(folder, how)
    old, new = before.fingerprint, now.fingerprint
    if old is not None and new is not None and not same_fingerprint(old, new):
        raise _made_otherwise(folder, f"by the model '{old}', not '{new}'")


def _require_same_photos(
    folder: Path, before: Manifest, dataset: NowDataset, usable: list[ImageEntry]
) -> None:
    """Refuse to use predictions of other photos or boxes again."""
    old_root = Path(before.dataset or "")
    if not before.photos and old_root.is_absolute() and old_root != dataset.root.resolve():
        raise _made_otherwise(folder, f"of the data in '{old_root}', not '{dataset.root}'")
    digests = dict(before.photos)
    for image in usable:
        if image.name not in digests:
            continue
        try:
            photo, box = dataset.photo_file(image), dataset.box(image)
        except UserError:
            continue  # predicted before, and not needed any more
        if not _is_of_photo(digests[image.name], photo, box):
            raise _made_otherwise(folder, f"of another photo or box of {image.name}")


def _made_otherwise(folder: Path, how: str) -> UserError:
    return UserError(
        f"{folder}: these predictions were made {how}; "
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


def _record_outcome(manifest: Manifest, name: str, outcome: _Outcome | str) -> Manifest:
    """The manifest with the outcome of one image; a string is the reason of a failure."""
    failed = {image: reason for image, reason in manifest.failed if image != name}
    photos = {image: digest for image, digest in manifest.photos if image != name}
    not_neutral = set(manifest.not_neutral) - {name}
    if isinstance(outcome, str):
        failed[name] = outcome
    else:
        photos[name] = outcome.photo
        if outcome.prediction.neutral is False:
            not_neutral.add(name)
    return replace(
        manifest,
        photos=tuple(sorted(photos.items())),
        not_neutral=tuple(sorted(not_neutral)),
        failed=tuple(sorted(failed.items())),
    )


def _save_prediction(base: Path, prediction: Prediction) -> None:
    """Write one prediction in mm, landmarks last, so that an interrupted one is not usable."""
    to_mm = UNIT_MM[prediction.unit]
    mesh = Mesh(prediction.vertices * to_mm, prediction.triangles)
    save_ply(base.with_suffix(".ply"), mesh)
    save_landmarks(base.with_suffix(".npy"), prediction.landmarks * to_mm)
