"""The files of one face, their names, and whether they can be written."""

import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from mica_ext.errors import UserError
from mica_ext.export.mesh_files import Unit, unit_of
from mica_ext.export.surface import material_path, texture_path


class Outputs(NamedTuple):
    """Files for the first face of a photo; further ones get _face2, ... after the stem."""

    mesh: Path | None
    params: Path | None
    landmarks: Path | None
    overlay: Path | None
    material: Path | None = None
    """Of an OBJ mesh with a texture."""
    texture: Path | None = None
    """Beside a mesh whose format does not hold it."""
    view: Path | None = None
    """Page that shows the head."""

    def with_view(self) -> "Outputs":
        """The same files, and a page beside the first of them."""
        first = self.paths()[0]
        stem = first.name.removesuffix(first.suffix)
        for kind in _KINDS:
            stem = stem.removesuffix(kind)
        return self._replace(view=view_path(first.with_name(stem)))

    def with_texture(self) -> "Outputs":
        """The same files, and those that a texture of the mesh needs beside it.

        Raises:
            UserError: the mesh cannot name them.
        """
        if self.mesh is None or self.mesh.suffix.lower() == ".glb":
            return self
        if not self.mesh.name.isprintable():
            raise UserError(
                f"{self.mesh}: expected a name without line ends and odd bytes with --texture, for "
                "the mesh names its texture in a line; choose another, or .glb"
            )
        material = material_path(self.mesh) if self.mesh.suffix.lower() == ".obj" else None
        return self._replace(material=material, texture=texture_path(self.mesh))

    def of_faces(self, count: int, taken: Set[str]) -> list["Outputs"]:
        """The files of each of `count` faces; numbers whose names are `taken` are skipped."""
        faces: list[Outputs] = [self]
        number = 1
        while len(faces) < count:
            number += 1
            files = Outputs(*(path and _numbered(path, number) for path in self))
            if taken.isdisjoint(map(path_key, files.paths())):
                faces.append(files)
        return faces

    def paths(self) -> list[Path]:
        """The files that will be written."""
        return [path for path in self if path is not None]

    def staged(self, staged: Mapping[Path, Path]) -> "Outputs":
        """The staged files to write instead."""
        return Outputs(*(path and staged[path] for path in self))

    def unit(self, asked: Unit | None) -> Unit:
        """Unit of mesh and landmarks: that of the mesh format, else `asked`, else mm."""
        return unit_of(self.mesh, asked) if self.mesh is not None else asked or "mm"


def path_key(path: Path) -> str:
    """The same for paths to the same file, also where file systems ignore the case of letters."""
    return os.path.realpath(path).lower()


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that exists, or that cannot be written; missing folders can be made.

    Raises:
        UserError: with what to do.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; give --overwrite to replace it, or another name")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"{path}: {folder} is a file, not a folder; choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: no right to write into {folder}; choose another place")


def view_path(base: Path) -> Path:
    """The page of the file `base`, whose name has no suffix."""
    return base.with_name(f"{base.name}.view.html")


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names made different by _2, _3, ... where they are not, whatever the case of letters.

    The first of a name keeps it, and no other takes it.
    """
    given: list[str] = []
    taken, met = {name.lower() for name in names}, set[str]()
    for wanted in names:
        name, number = wanted, 1
        while wanted.lower() in met and name.lower() in taken:
            number += 1
            name = f"{wanted}_{number}"
        met.add(wanted.lower())
        taken.add(name.lower())
        given.append(name)
    return given


def _numbered(path: Path, number: int) -> Path:
    ending = "".join(path.suffixes[-2:]) if path.stem.endswith(_KINDS) else path.suffix
    return path.with_name(f"{path.name.removesuffix(ending)}_face{number}{ending}")


_KINDS = (".params", ".landmarks", ".overlay", ".texture", ".view")
