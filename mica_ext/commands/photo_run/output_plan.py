"""Plans which files a run of `reconstruct` writes, and refuses what cannot work before it starts.

Imports no torch, so that a wrong name is answered at once.
"""

import os
from pathlib import Path
from typing import NamedTuple

from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.photo_run.outputs import Outputs, check_writable, distinct_names
from mica_ext.commands.photo_run.photo_list import (
    OVERLAY_ENDING,
    PhotoFile,
    PhotoList,
    Skipped,
    list_photos,
)
from mica_ext.errors import UserError
from mica_ext.export.mesh_files import SUFFIXES as MESHES
from mica_ext.export.mesh_files import check_extras, check_format

PICTURES = (".png", ".jpg", ".jpeg")
EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


class Job(NamedTuple):
    """One photo and what is made from it."""

    photo: Path
    name: str
    """Of the photo within the folder that was asked for."""
    outputs: Outputs


class Plan(NamedTuple):
    """A whole run."""

    jobs: tuple[Job, ...]
    many: bool
    """Whether a photo that fails does not end the run."""
    in_folders: bool
    """Whether results go into folders, under the photos' names."""
    skipped: tuple[Skipped, ...]
    """Files in the folders of photos that are not reconstructed."""
    taken: frozenset[str]
    """Path keys of all photos and of their first faces' files."""


def make_plan(config: ReconstructConfig) -> Plan:
    """Pair photos with files.

    Raises:
        UserError: for options, photos or names that cannot work.
    """
    _check_options(config)
    files = Outputs(config.out, config.params, config.landmarks, config.overlay)
    if config.example and not files.paths():
        files = Outputs(Path("astronaut.obj"), None, None, Path("astronaut.png"))
    asked = (EXAMPLE,) if config.example else config.photos
    if not asked:
        raise UserError("no photo given: expected `reconstruct photo.jpg --out mesh.obj`")
    if not files.paths():
        raise UserError(
            "nothing to write: give --out mesh.obj (or --params, --landmarks, --overlay)"
        )
    listed = list_photos(asked, recursive=config.recursive)
    if listed.many and config.view == "window":
        raise UserError("--view window shows one photo's face: give one photo, or --view for pages")
    if listed.many and (config.bbox or config.landmarks5):
        raise UserError("--bbox and --landmarks5 name the face of one photo: give one photo")
    in_folders = listed.many or _are_folders(files, all_faces=config.chosen_face == "all")
    if in_folders:
        _check_folders(files)
        jobs = _jobs_in_folders(listed, files, config.format)
    else:
        jobs = [Job(listed.photos[0].path, listed.photos[0].path.name, files)]
    if config.texture:
        jobs = [job._replace(outputs=job.outputs.with_texture()) for job in jobs]
    if config.view == "page":
        jobs = [job._replace(outputs=job.outputs.with_view()) for job in jobs]
    return _checked(jobs, listed, config, in_folders=in_folders)


def _check_options(config: ReconstructConfig) -> None:
    if config.neutral and config.posed:
        raise UserError("--neutral and --posed exclude each other: choose one")
    face = config.chosen_face
    if face not in ("largest", "center", "all") and not face.isdecimal():
        raise UserError(f"--face: expected largest, center, all or a number from 0, got {face!r}")
    if config.min_face is not None and not 0 < config.min_face < float("inf"):
        raise UserError(f"--min-face: expected a number of pixels above 0, got {config.min_face}")
    if config.threads is not None and config.threads < 1:
        raise UserError(f"--threads: expected 1 or more, got {config.threads}")
    places = [config.bbox is not None, config.landmarks5 is not None, config.aligned]
    if sum(places) > 1:
        raise UserError("--bbox, --landmarks5 and --aligned exclude each other: choose one")
    if any(places) and (config.chosen_face == "all" or config.same_person):
        raise UserError("--bbox, --landmarks5, --aligned name one face: leave --face all out")
    if config.csv is not None:
        raise UserError("--csv is for a video: leave it out for photos")
    if config.no_open and config.view != "page":
        raise UserError("--no-open goes with --view: give --view too, or leave it out")
    if config.example and config.photos:
        raise UserError("--example brings its own photo: leave the other photos out")


def _are_folders(files: Outputs, *, all_faces: bool) -> bool:
    """Whether the outputs of one photo are folders: they exist as such, or have no suffix."""
    if files.mesh is not None and files.mesh.is_dir():
        return True
    return all_faces and not any(_has_file_suffix(path) for path in files.paths())


def _has_file_suffix(path: Path) -> bool:
    return path.suffix.lower() in (*MESHES, *PICTURES, ".json")


def _check_folders(files: Outputs) -> None:
    for flag, path in files._asdict().items():
        flag = {"mesh": "out"}.get(flag, flag)
        if path is None:
            continue
        if _has_file_suffix(path) and not path.is_dir():
            raise UserError(
                f"--{flag} {path}: several photos need a folder here, such as --{flag} "
                f"{path.with_suffix('')}"
            )
        if path.exists() and not path.is_dir():
            raise UserError(f"--{flag} {path}: expected a folder, this is a file")


def _jobs_in_folders(listed: PhotoList, folders: Outputs, mesh_format: str) -> list[Job]:
    def inside(folder: Path | None, name: str) -> Path | None:
        return None if folder is None else folder / name

    def job(photo: PhotoFile, name: str) -> Job:
        outputs = Outputs(
            inside(folders.mesh, f"{name}.{mesh_format}"),
            inside(folders.params, f"{name}.params.json"),
            inside(folders.landmarks, f"{name}.landmarks.json"),
            inside(folders.overlay, f"{name}{OVERLAY_ENDING}"),
        )
        return Job(photo.path, photo.relative.as_posix(), outputs)

    names = [str(photo.relative.parent / photo.relative.stem) for photo in listed.photos]
    return [job(*pair) for pair in zip(listed.photos, distinct_names(names), strict=True)]


def _checked(
    jobs: list[Job], listed: PhotoList, config: ReconstructConfig, *, in_folders: bool
) -> Plan:
    photos = {os.path.realpath(job.photo) for job in jobs}
    outputs: set[str] = set()
    for job in jobs:
        _check_suffix("--out", job.outputs.mesh, MESHES)
        _check_suffix("--overlay", job.outputs.overlay, PICTURES)
        _check_suffix("--params", job.outputs.params, (".json",))
        _check_suffix("--landmarks", job.outputs.landmarks, (".json",))
        if job.outputs.mesh is not None:
            check_format(job.outputs.mesh, config.unit)
        check_extras(job.outputs.mesh, texture=config.texture, solid=config.solid)
        for path in job.outputs.paths():
            real = os.path.realpath(path)  # of links in a circle too, unlike Path.resolve
            if real in photos:
                raise UserError(
                    f"{path}: would replace a photo given as input; choose another name"
                )
            if real in outputs:
                raise UserError(f"{path}: two results would go into this file; choose two names")
            outputs.add(real)
            # in a run over many photos, files that exist may be those of an earlier run
            check_writable(path, overwrite=config.overwrite or listed.many)
    taken = frozenset(real.lower() for real in photos | outputs)
    return Plan(tuple(jobs), listed.many, in_folders, listed.skipped, taken)


def _check_suffix(flag: str, path: Path | None, allowed: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in allowed:
        raise UserError(f"{flag} {path}: expected a name ending in {' '.join(allowed)}")
