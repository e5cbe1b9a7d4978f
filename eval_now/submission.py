"""The test split: predictions checked, laid out and packed as the organisers ask."""

import os
import zipfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from eval_now.dataset import ImageEntry
from eval_now.meshes import read_bytes, write_atomically
from eval_now.predictions import PredictionFiles, load_prediction

ADDRESS = "ringnet@tue.mpg.de"


def write_submission(
    out: Path, found: list[tuple[ImageEntry, PredictionFiles]], console: Console
) -> Path:
    """Write out/submission/SUBJECT/CHALLENGE/IMG.{obj|ply,npy|txt} and out/submission.zip."""
    for _, files in found:
        load_prediction(files)  # an unreadable file would only come to light at the organisers'
    archive = out / "submission.zip"
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / ".submission.zip.tmp"
    with (
        Progress(console=console, transient=True) as progress,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        task = progress.add_task("packing", total=len(found))
        for image, files in found:
            for path in (files.mesh, files.landmarks):
                inner = f"{image.subject}/{image.challenge}/{image.stem}{path.suffix.lower()}"
                data = read_bytes(path)
                write_atomically(out / "submission" / inner, data)
                packed.writestr(inner, data)
            progress.advance(task)
    os.replace(temporary, archive)
    console.print(
        f"{len(found)} predictions packed in {archive}; the test scans are not public: send "
        f"a link to the archive and the name of the method to {ADDRESS}",
        highlight=False,
        soft_wrap=True,
    )
    return archive
