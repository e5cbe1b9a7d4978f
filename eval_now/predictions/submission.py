"""The archive of test-split predictions for the benchmark's organisers.

Their reader fails on vertex colours, negative indices, quads and commas. Meshes are therefore
rewritten as .ply of triangles and landmarks as .npy of shape (7, 3).
"""

import zipfile
from pathlib import Path

from rich.console import Console

from eval_now.data.image_list import ImageEntry
from eval_now.errors import UserError
from eval_now.io.files import open_atomic
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_ply
from eval_now.io.terminal import print_line, progress
from eval_now.predictions.files import PredictionFiles, Unit, load_prediction

ADDRESS = "ringnet@tue.mpg.de"


def write_submission(
    out: Path,
    predictions: list[tuple[ImageEntry, PredictionFiles]],
    listed: int,
    unit: Unit | None,
    console: Console,
) -> Path:
    """Write out/submission/SUBJECT/CHALLENGE/IMG.{ply,npy} and out/submission.zip.

    Coordinates keep their unit.

    Raises:
        UserError: a prediction cannot be read, or the folder holds other files.
    """
    folder, archive = out / "submission", out / "submission.zip"
    sources = {
        f"{image.subject}/{image.challenge}/{image.stem}": files for image, files in predictions
    }
    names = {name + suffix for name in sources for suffix in (".ply", ".npy")}
    _refuse_other_files(folder, names)
    with (
        progress("packing", len(sources)) as advance,
        open_atomic(archive) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name, files in sources.items():
            mesh, landmarks = load_prediction(files)
            save_ply(folder / f"{name}.ply", mesh)
            save_landmarks(folder / f"{name}.npy", landmarks)
            for suffix in (".ply", ".npy"):
                packed.write(folder / (name + suffix), name + suffix)
            advance(1)
    unit_note = f"the meshes are in {unit}" if unit else "state the meshes' unit (here: --unit)"
    print_line(
        console,
        f"{len(predictions)} of {listed} listed images packed in {archive}; {unit_note}; the test "
        f"scans are not public: send a link to the archive and the name of the method to {ADDRESS}",
    )
    return archive


def _refuse_other_files(folder: Path, names: set[str]) -> None:
    """Refuse a folder with files of another submission."""
    present = {path.relative_to(folder).as_posix() for path in folder.glob("*/*/*")}
    others = sorted(present - names)
    if others:
        raise UserError(
            f"{folder}: holds {len(others)} other files, e.g. {others[0]}; "
            "remove the folder or choose another --out"
        )
