"""Which files a video's run writes; refuses what cannot work before it starts. Imports no torch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.photo_run.outputs import check_writable, view_path
from mica_ext.errors import UserError
from mica_ext.video_files.reader import SUFFIXES, is_video
from mica_ext.video_files.writer import SUFFIXES as OVERLAYS

ONLY_PHOTOS = (
    *("recursive", "bbox", "landmarks5", "aligned", "neutral", "posed", "unit", "landmarks"),
    *("overlay_style", "overlay_points", "texture", "solid", "format", "same_person", "threads"),
    *("fit", "example"),
)
"""Options of `ReconstructConfig` that a video does not take."""


class VideoPlan(NamedTuple):
    """A run over one video."""

    video: Path
    glb: Path | None
    csv: Path | None
    params: Path | None
    overlay: Path | None
    view: Path | None

    def paths(self) -> list[Path]:
        """The files that will be written."""
        return [path for path in self[1:] if path is not None]


def video_among(photos: Sequence[Path]) -> Path | None:
    """The video that was given in place of photos; None for photos and folders.

    Raises:
        UserError: there are photos or other videos beside it.
    """
    videos = [
        path
        for path in photos
        if (path.is_file() or path.suffix.lower() in SUFFIXES) and not path.is_dir()
        if is_video(path)
    ]
    if videos and len(photos) > 1:
        raise UserError(f"{videos[0]} is a video: give one video alone, or photos alone")
    return videos[0] if videos else None


def plan_video(config: ReconstructConfig, video: Path) -> VideoPlan:
    """The files of a run.

    Raises:
        UserError: for options or names that cannot work.
    """
    default = ReconstructConfig()
    for name in ONLY_PHOTOS:
        if getattr(config, name) != getattr(default, name):
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} is for photos: leave it out for the video {video}")
    if config.chosen_face not in ("largest", "center") and not config.chosen_face.isdecimal():
        raise UserError(
            f"--face {config.chosen_face}: expected largest, center or a number from 0 for a video"
        )
    if config.min_face is not None and not 0 < config.min_face < float("inf"):
        raise UserError(f"--min-face: expected a number of pixels above 0, got {config.min_face}")
    if config.view == "window" or (config.no_open and config.view is None):
        raise UserError(f"--view window and --no-open alone are for photos, {video} is a video")
    plan = VideoPlan(video, config.out, config.csv, config.params, config.overlay, None)
    if not plan.paths():
        raise UserError(
            "nothing to write: give --out clip.glb (or --csv clip.csv, --params clip.json, "
            "--overlay clip_overlay.mp4)"
        )
    suffixes = {"out": (".glb",), "csv": (".csv",), "params": (".json",), "overlay": OVERLAYS}
    taken = {os.path.realpath(video)}
    for (flag, allowed), path in zip(suffixes.items(), plan[1:], strict=False):
        if path is None:
            continue
        if path.suffix.lower() not in allowed:
            raise UserError(
                f"--{flag} {path}: expected a name ending in {' '.join(allowed)} for a video"
            )
        real = os.path.realpath(path)
        if real in taken:
            raise UserError(f"{path}: is the video, or two results would go into it")
        taken.add(real)
        check_writable(path, overwrite=config.overwrite)
    if config.view is None:
        return plan
    first = plan.paths()[0]
    page = view_path(first.with_suffix(""))
    check_writable(page, overwrite=config.overwrite)
    return plan._replace(view=page)
