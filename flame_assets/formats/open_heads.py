"""Which of the heads other than FLAME a file or folder holds, told by its content."""

from pathlib import Path

from flame_assets.formats.gnm import convert_gnm
from flame_assets.formats.ict import convert_ict, model_files
from flame_assets.inert.budgets import NPZ_UNPACKED
from flame_assets.inert.files import ReadError, open_regular
from flame_assets.inert.zips import ZipReader
from flame_assets.model.head import HeadModel


def convert_open_head(
    path: Path, landmarks: Path | None = None, name: str | None = None
) -> HeadModel | None:
    """The head of GNM's or ICT-FaceKit's files; None for anything else.

    Raises:
        UserError: it is one of theirs and cannot be used.
    """
    if path.is_dir():
        known = (path / f"{file}.obj" for file in model_files())
        return convert_ict(path, name) if any(map(Path.is_file, known)) else None
    members = _members(path)
    if "template_vertex_positions.npy" in members:
        return convert_gnm(path, landmarks, name)
    if {"neutral.npy", "identity.npy", "expression.npy"} <= members:
        return convert_ict(path, name)
    return None


def _members(path: Path) -> frozenset[str]:
    try:
        with open_regular(path) as file:
            if file.read(2) != b"PK":
                return frozenset()
            file.seek(0)
            return frozenset(ZipReader(file, NPZ_UNPACKED).members)
    except ReadError:
        return frozenset()  # the reader of FLAME's files says what is wrong
