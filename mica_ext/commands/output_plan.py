"""Plans which files a run of `reconstruct` writes, and refuses what cannot work before it starts.

Imports no torch, so that a wrong name is answered at once.
"""

import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from mica_ext.commands.config import ReconstructConfig
from mica_ext.errors import UserError
from mica_ext.export.mesh_files import SUFFIXES as MESHES
from mica_ext.export.mesh_files import Unit, check_format, unit_of

PICTURES = (".png", ".jpg", ".jpeg")
OVERLAY = ".overlay.png"
"""Ending of the pictures in a folder of results; in a folder of photos they are no photos."""
EXAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"


class Outputs(NamedTuple):
    """Files for the first face of a photo; further ones get _face2, ... after the stem."""

    mesh: Path | None
    params: Path | None
    landmarks: Path | None
    overlay: Path | None

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


class Job(NamedTuple):
    """One photo and what is made from it."""

    photo: Path
    outputs: Outputs


class Plan(NamedTuple):
    """A whole run."""

    jobs: tuple[Job, ...]
    many: bool  # a failed photo then does not end the run
    done: tuple[Path, ...] = ()  # photos left out, for an earlier run made all their files
    taken: frozenset[str] = frozenset()  # path keys of all photos and their first faces' files


def make_plan(config: ReconstructConfig) -> Plan:
    """Pair photos with files; `UserError` on anything that cannot work."""
    if config.neutral and config.posed:
        raise UserError("--neutral and --posed exclude each other: choose one")
    if config.face not in ("largest", "center", "all") and not config.face.isdecimal():
        raise UserError(
            f"--face: expected largest, center, all or a number from 0, got {config.face!r}"
        )
    if config.example:
        if config.photos:
            raise UserError("--example brings its own photo: leave the other photos out")
        if not any((config.out, config.params, config.landmarks, config.overlay)):
            outputs = Outputs(Path("astronaut.obj"), None, None, Path("astronaut.png"))
            return _checked(Plan((Job(EXAMPLE, outputs),), many=False), config)
    asked = (EXAMPLE,) if config.example else config.photos
    if not asked:
        raise UserError("no photo given: expected `reconstruct photo.jpg --out mesh.obj`")
    if not any((config.out, config.params, config.landmarks, config.overlay)):
        raise UserError(
            "nothing to write: give --out mesh.obj (or --params, --landmarks, --overlay)"
        )
    photos, many = _photos(asked)
    if many or (config.out is not None and config.out.is_dir()):
        _check_folders(config)
        stems = _distinct([photo.stem for photo in photos])
        jobs = [Job(p, _in_folders(config, s)) for p, s in zip(photos, stems, strict=True)]
    else:
        files = Outputs(config.out, config.params, config.landmarks, config.overlay)
        jobs = [Job(photos[0], files)]
    return _checked(Plan(tuple(jobs), many), config)


def _photos(asked: Sequence[Path]) -> tuple[list[Path], bool]:
    """All photos, and whether they are to be treated as many."""
    photos, many = [], len(asked) > 1
    for path in asked:
        if path.is_dir():
            from pacofr.images import list_images

            found = [file for file in list_images(path) if not file.name.endswith(OVERLAY)]
            if not found:
                raise UserError(
                    f"{path} holds no photo: its pictures *{OVERLAY} are this command's"
                )
            photos += found
            many = True
        else:
            photos.append(path)
    return photos, many


def _check_folders(config: ReconstructConfig) -> None:
    for flag in ("out", "params", "landmarks", "overlay"):
        path: Path | None = getattr(config, flag)
        if path is None:
            continue
        if path.suffix.lower() in (*MESHES, *PICTURES, ".json") and not path.is_dir():
            raise UserError(
                f"--{flag} {path}: several photos need a folder here, such as --{flag} "
                f"{path.with_suffix('')}"
            )
        if path.exists() and not path.is_dir():
            raise UserError(f"--{flag} {path}: expected a folder, this is a file")


def _in_folders(config: ReconstructConfig, stem: str) -> Outputs:
    def inside(folder: Path | None, ending: str) -> Path | None:
        return None if folder is None else folder / f"{stem}{ending}"

    return Outputs(
        inside(config.out, f".{config.format}"),
        inside(config.params, ".params.json"),
        inside(config.landmarks, ".landmarks.json"),
        inside(config.overlay, OVERLAY),
    )


def _checked(plan: Plan, config: ReconstructConfig) -> Plan:
    inputs = {os.path.realpath(job.photo) for job in plan.jobs}
    seen: set[str] = set()
    for job in plan.jobs:
        _check_suffix("--out", job.outputs.mesh, MESHES)
        _check_suffix("--overlay", job.outputs.overlay, PICTURES)
        _check_suffix("--params", job.outputs.params, (".json",))
        _check_suffix("--landmarks", job.outputs.landmarks, (".json",))
        if job.outputs.mesh is not None:
            check_format(job.outputs.mesh, config.unit)
        for path in job.outputs.paths():
            real = os.path.realpath(path)  # of links in a circle too, unlike Path.resolve
            if real in inputs:
                raise UserError(
                    f"{path}: would replace a photo given as input; choose another name"
                )
            if real in seen:
                raise UserError(f"{path}: two results would go into this file; choose two names")
            seen.add(real)
    done = _done(plan.jobs) if plan.many and not config.overwrite else set()
    jobs = tuple(job for job in plan.jobs if job.photo not in done)
    for job in jobs:
        for path in job.outputs.paths():
            check_writable(path, overwrite=config.overwrite, make_folder=plan.many)
    taken = frozenset(real.lower() for real in inputs | seen)
    return Plan(jobs, plan.many, tuple(j.photo for j in plan.jobs if j.photo in done), taken)


def _done(jobs: Sequence[Job]) -> set[Path]:
    """Photos whose files are there.

    Photos with the same stem are skipped only together: adding one renumbers the others.
    """
    named: dict[str, list[Job]] = {}
    for job in jobs:
        named.setdefault(job.photo.stem.lower(), []).append(job)
    done: set[Path] = set()
    for group in named.values():
        files = [path for job in group for path in job.outputs.paths()]
        there = [path for path in files if path.is_file() and path.stat().st_size > 0]
        if there and len(there) < len(files):
            missing = next(path for path in files if path not in there)
            whose = "the same photo" if len(group) == 1 else "a photo of the same name"
            raise UserError(
                f"{there[0]}: exists, but {missing} of {whose} does not; remove that file, or "
                "give --overwrite to do all photos anew"
            )
        if there:
            done.update(job.photo for job in group)
    return done


def path_key(path: Path) -> str:
    """The same for paths to the same file, also where file systems ignore the case of letters."""
    return os.path.realpath(path).lower()


def check_writable(path: Path, *, overwrite: bool, make_folder: bool = False) -> None:
    """Refuse a file that exists, or a folder that is missing or not to be written into."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; give --overwrite to replace it, or another name")
    folder = path.parent
    while make_folder and not folder.exists():
        folder = folder.parent
    if not folder.exists():
        raise UserError(f"{path}: its folder {path.parent} does not exist; make it first")
    if not folder.is_dir():
        raise UserError(f"{path}: {folder} is a file, not a folder; choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: no right to write into {folder}; choose another place")


def _check_suffix(flag: str, path: Path | None, allowed: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in allowed:
        raise UserError(f"{flag} {path}: expected a name ending in {' '.join(allowed)}")


def _distinct(stems: Sequence[str]) -> list[str]:
    """Stems made different by _2, _3, ... where they are not, whatever the case of letters.

    The first of a name keeps it, and no other takes it.
    """
    given: list[str] = []
    taken, met = {stem.lower() for stem in stems}, set[str]()
    for stem in stems:
        name, number = stem, 1
        while stem.lower() in met and name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        met.add(stem.lower())
        taken.add(name.lower())
        given.append(name)
    return given


def _numbered(path: Path, number: int) -> Path:
    ending = "".join(path.suffixes[-2:]) if path.stem.endswith(_MIDDLE) else path.suffix
    return path.with_name(f"{path.name.removesuffix(ending)}_face{number}{ending}")


_MIDDLE = (".params", ".landmarks", ".overlay")
