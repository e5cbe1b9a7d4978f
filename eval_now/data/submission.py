"""The test split: predictions laid out and packed as the organisers ask.

Their reader trips over colours in an .obj, negative indices, quads and commas. Every mesh is
therefore written anew as a plain .ply of triangles and every landmark file as .npy of shape (7, 3).
"""

import zipfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from eval_now.data.dataset import ImageEntry
from eval_now.data.predictions import PredictionFiles, Unit, load_prediction
from eval_now.errors import UserError
from eval_now.io.files import whole_file
from eval_now.io.landmarks import save_npy
from eval_now.io.meshes import save_ply

ADDRESS = "ringnet@tue.mpg.de"


def write_submission(
    out: Path,
    found: list[tuple[ImageEntry, PredictionFiles]],
    listed: int,
    unit: Unit | None,
    console: Console,
) -> Path:
    """Write out/submission/SUBJECT/CHALLENGE/IMG.{ply,npy} and out/submission.zip.

    The numbers keep their unit. A prediction that cannot be read is a `UserError`.
    """
    folder, archive = out / "submission", out / "submission.zip"
    sources = {f"{image.subject}/{image.challenge}/{image.stem}": files for image, files in found}
    names = {name + suffix for name in sources for suffix in (".ply", ".npy")}
    _must_hold_nothing_else(folder, names)
    with (
        Progress(console=console, transient=True) as progress,
        whole_file(archive) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name, files in progress.track(sources.items(), description="packing"):
            mesh, landmarks = load_prediction(files)
            save_ply(folder / f"{name}.ply", mesh)
            save_npy(folder / f"{name}.npy", landmarks)
            for suffix in (".ply", ".npy"):
                packed.write(folder / (name + suffix), name + suffix)
    stated = f"the meshes are in {unit}" if unit else "state the meshes' unit (here: --unit)"
    console.print(
        f"{len(found)} of {listed} listed images packed in {archive}; {stated}; the test scans "
        f"are not public: send a link to the archive and the name of the method to {ADDRESS}",
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
