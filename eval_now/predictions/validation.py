"""Reads all listed predictions before scoring, and reports those that are missing or malformed."""

from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from eval_now.data.image_issues import ImageWarning, MissingImage, relative_reason
from eval_now.data.image_list import ImageEntry
from eval_now.errors import UserError
from eval_now.io.terminal import print_line, progress
from eval_now.predictions.files import Manifest, PredictionFiles, find_prediction, load_prediction

MAX_MISSING_IN_LINE = 20


class ValidatedPredictions(NamedTuple):
    """Readable predictions, the images without one, and warnings."""

    readable: list[tuple[ImageEntry, PredictionFiles]]
    missing: list[MissingImage]
    warnings: list[ImageWarning]


def validate_predictions(
    folder: Path, images: list[ImageEntry], manifest: Manifest | None
) -> ValidatedPredictions:
    """Find and read the predictions of all listed images; takes seconds, scoring takes minutes."""
    reasons = dict(manifest.failed) if manifest else {}
    not_neutral = frozenset(manifest.not_neutral if manifest else ())
    result = ValidatedPredictions([], [], [])
    with progress("checking", len(images)) as advance:
        for image in images:
            _validate(folder, image, reasons.get(image.name), image.name in not_neutral, result)
            advance(1)
    return result


def _validate(
    folder: Path,
    image: ImageEntry,
    predictor_reason: str | None,
    not_neutral: bool,
    result: ValidatedPredictions,
) -> None:
    """Append the prediction of one image, or the reason why it has none, to `result`."""
    files = find_prediction(folder, image)
    if isinstance(files, str):
        reason = files if predictor_reason is None else predictor_reason
        result.missing.append(MissingImage(image=image.name, reason=reason))
        return
    try:
        load_prediction(files)
    except UserError as error:
        reason = relative_reason(error, folder)
        result.missing.append(MissingImage(image=image.name, reason=reason))
        return
    result.readable.append((image, files))
    if not_neutral:
        text = "the predictor says that this mesh wears an expression"
        result.warnings.append(ImageWarning("not_neutral", image.name, "", text))
    if files.two_meshes:
        text = f"both .obj and .ply are there; {files.mesh.name} counts"
        result.warnings.append(ImageWarning("two_meshes", image.name, "", text))


def require_complete(
    folder: Path, missing: list[MissingImage], listed: int, allow_missing: bool, console: Console
) -> None:
    """Refuse missing images unless allowed, and a run without any readable prediction."""
    if len(missing) == listed:
        raise UserError(
            f"{folder}: none of the {listed} listed images has a usable prediction; the first, "
            f"{missing[0].image}: {missing[0].reason}"
        )
    if missing and not allow_missing:
        raise _missing_error(console, folder, missing, listed)


def _missing_error(
    console: Console, folder: Path, missing: list[MissingImage], listed: int
) -> UserError:
    """The error that names the missing images; a long list is printed before it."""
    entries = [f"{entry.image} ({entry.reason})" for entry in missing]
    if len(entries) > MAX_MISSING_IN_LINE:
        for entry in entries:
            print_line(console, entry)
        entries = [*entries[:3], f"and {len(entries) - 3} more, listed above"]
    return UserError(
        f"{folder}: {len(missing)} of {listed} images have no usable prediction: "
        f"{'; '.join(entries)}; "
        "add them, or go on with --allow-missing (the result is then marked as incomplete)"
    )
