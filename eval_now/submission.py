"""The test split: predictions checked, laid out and packed as the organisers ask."""

import zipfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, track

from eval_now.dataset import ImageEntry
from eval_now.errors import UserError
from eval_now.files import read_bytes, whole_file, write_atomically
from eval_now.predictions import PredictionFiles, load_prediction
from eval_now.result import Missing

ADDRESS = "ringnet@tue.mpg.de"


def only_readable(
    found: list[tuple[ImageEntry, PredictionFiles]], console: Console
) -> tuple[list[tuple[ImageEntry, PredictionFiles]], list[Missing]]:
    """The predictions that can be read, and the rest: the organisers would find out too late."""
    kept, failures = [], []
    for image, files in track(found, "checking", console=console, transient=True):
        try:
            load_prediction(files)
        except UserError as error:
            failures.append(Missing(image=image.name, reason=str(error)))
        else:
            kept.append((image, files))
    return kept, failures


def write_submission(
    out: Path, found: list[tuple[ImageEntry, PredictionFiles]], console: Console
) -> Path:
    """Write out/submission/SUBJECT/CHALLENGE/IMG.{obj|ply,npy|txt} and out/submission.zip."""
    folder, archive = out / "submission", out / "submission.zip"
    sources = {
        f"{image.subject}/{image.challenge}/{image.stem}{path.suffix.lower()}": path
        for image, files in found
        for path in (files.mesh, files.landmarks)
    }
    _must_hold_nothing_else(folder, set(sources))
    with (
        Progress(console=console, transient=True) as progress,
        whole_file(archive) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for inner, path in progress.track(sources.items(), description="packing"):
            data = read_bytes(path)
            write_atomically(folder / inner, data)
            packed.writestr(inner, data)
    console.print(
        f"{len(found)} predictions packed in {archive}; the test scans are not public: send "
        f"a link to the archive and the name of the method to {ADDRESS}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return archive


def _must_hold_nothing_else(folder: Path, names: set[str]) -> None:
    """A folder left by another run would be sent along with this one."""
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*/*")}
    others = sorted(there - names)
    if others:
        raise UserError(
            f"{folder}: holds {len(others)} other files, e.g. {others[0]}; "
            "remove the folder or choose another --out"
        )
