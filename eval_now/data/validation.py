"""Which listed images have a prediction that can be read, and what to say of the others."""

from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from eval_now.data.dataset import ImageEntry
from eval_now.data.predictions import Manifest, PredictionFiles, find_prediction, load_prediction
from eval_now.errors import UserError
from eval_now.scoring.result import Missing
from eval_now.scoring.result_warnings import Warned

LONGEST_LIST = 20


class Usable(NamedTuple):
    """The readable predictions, why the other listed images have none, and first warnings."""

    found: list[tuple[ImageEntry, PredictionFiles]]
    missing: list[Missing]
    warnings: list[Warned]


def find_usable(
    folder: Path, images: list[ImageEntry], manifest: Manifest | None, console: Console
) -> Usable:
    """Find and read all predictions: seconds now, where scoring would take minutes to fail."""
    reasons = dict(manifest.failed) if manifest else {}
    not_neutral = manifest.not_neutral if manifest else ()
    usable = Usable([], [], [])
    for image in track(images, "checking", console=console, transient=True):
        files = find_prediction(folder, image)
        if isinstance(files, str):
            reason = reasons.get(image.name, files)
            usable.missing.append(Missing(image=image.name, reason=reason))
            continue
        try:
            load_prediction(files)
        except UserError as error:
            usable.missing.append(Missing(image=image.name, reason=str(error)))
            continue
        usable.found.append((image, files))
        if image.name in not_neutral:
            text = "the predictor says that this mesh wears an expression"
            usable.warnings.append(Warned("not_neutral", image.name, "", text))
        if files.doubled:
            text = f"both .obj and .ply are there; {files.mesh.name} counts"
            usable.warnings.append(Warned("two_meshes", image.name, "", text))
    return usable


def must_be_complete(
    folder: Path, missing: list[Missing], listed: int, allow_missing: bool, console: Console
) -> None:
    """Refuse missing images unless they are allowed, and a run without any image in any case."""
    if len(missing) == listed:
        raise UserError(
            f"{folder}: none of the {listed} listed images has a usable prediction; the first, "
            f"{missing[0].image}: {missing[0].reason}"
        )
    if missing and not allow_missing:
        raise _missing_error(console, folder, missing, listed)


def _missing_error(
    console: Console, folder: Path, missing: list[Missing], listed: int
) -> UserError:
    """The error with a short list in it; a long list is printed line by line before it."""
    entries = [f"{entry.image} ({entry.reason})" for entry in missing]
    if len(entries) > LONGEST_LIST:
        for entry in entries:
            console.print(entry, highlight=False, markup=False, soft_wrap=True)
        entries = [*entries[:3], f"and {len(entries) - 3} more, listed above"]
    return UserError(
        f"{folder}: {len(missing)} of {listed} images have no usable prediction: "
        f"{'; '.join(entries)}; "
        "add them, or go on with --allow-missing (the result is then marked as incomplete)"
    )
