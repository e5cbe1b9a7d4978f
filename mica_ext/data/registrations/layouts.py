"""Where the meshes of a data set lie.

CoMA     ROOT/[COMA_data/]SUBJECT/EXPRESSION/EXPRESSION.000001.ply
FaMoS    ROOT/[training_data/]registrations/SUBJECT/SEQUENCE/SEQUENCE.000001.ply, and the
         published lists of [subject, sequence, frame] beside the folder registrations
meshes   ROOT/SUBJECT/**/*.ply or .obj; files directly in ROOT are a subject each
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mica_ext.data.registrations.config import FitSource, FrameSplit
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import from_json, read_json

MESHES = (".ply", ".obj")
LANDMARKS = (".npy",)
FAMOS_LISTS: dict[str, str] = {
    "train": "seventy_subj__all_seq_frames_per_seq_40_head_rot_120_train.json",
    "val": "eight_subj__all_seq_frames_per_seq_5_val.json",
    "test": "fiveteen_subj__all_seq_frames_per_seq_20_test.json",
}
LIST_BYTES = 64 << 20
NUMBERED = re.compile(r"(?P<sequence>.+)\.(?P<frame>\d{1,9})")
MISSING = "missing frame"


class Frame(NamedTuple):
    """One mesh of one subject."""

    sequence: str
    frame: str
    """As in the file name, e.g. 000017."""
    path: Path


Subjects = dict[str, list[Frame]]
"""Frames of every subject, by sequence and number."""


class _FrameList(NamedTuple):
    rows: tuple[tuple[str, str, str], ...]


class FrameName(NamedTuple):
    """An entry of a published list."""

    subject: str
    sequence: str
    frame: str


def find_frames(
    source: FitSource, root: Path, split: FrameSplit, every: int, skipped: SkipCounter
) -> Subjects:
    """All frames of a data set; what is missing is counted in `skipped`.

    Raises:
        UserError: the folder has no such layout.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the {source} data")
    if source == "coma":
        subjects = _numbered(_first_folder(root, "COMA_data") or root, skipped)
    elif source == "famos":
        folder = registrations_folder(root)
        subjects = _numbered(folder, skipped)
        if split != "all":
            subjects = _listed(subjects, read_frame_list(root, split), skipped)
    else:
        subjects = _loose(root, LANDMARKS if source == "landmarks" else MESHES)
    subjects = {name: _every(frames, every) for name, frames in subjects.items() if frames}
    if not subjects:
        raise UserError(f"{root}: expected {EXPECTED[source]}, found none")
    return dict(sorted(subjects.items()))


EXPECTED: dict[FitSource, str] = {
    "coma": "SUBJECT/EXPRESSION/EXPRESSION.000001.ply",
    "famos": "registrations/SUBJECT/SEQUENCE/SEQUENCE.000001.ply",
    "meshes": "meshes .ply or .obj",
    "landmarks": "landmarks .npy",
}


def registrations_folder(root: Path) -> Path:
    """FaMoS' folder of registrations.

    Raises:
        UserError: there is none.
    """
    folder = _first_folder(root, "registrations", "training_data/registrations")
    if folder is None:
        raise UserError(f"{root}: expected {EXPECTED['famos']}, found no folder registrations")
    return folder


def read_frame_list(root: Path, split: FrameSplit) -> list[FrameName]:
    """A published list of FaMoS.

    Raises:
        UserError: it is not there or no such list.
    """
    name = FAMOS_LISTS[split]
    places = [root / name, *(root / part / name for part in ("training_data", "test_data"))]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(f"--split {split}: expected {root / name}, one of TEMPEH's lists")
    try:
        content = read_json(path, "a list of [subject, sequence, frame]", max_bytes=LIST_BYTES)
        rows = from_json(_FrameList, {"rows": content}, str(path)).rows
    except ContentError as error:
        raise UserError(str(error)) from error
    return [FrameName(*row) for row in rows]


def _first_folder(root: Path, *names: str) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _numbered(root: Path, skipped: SkipCounter) -> Subjects:
    """SUBJECT/SEQUENCE/SEQUENCE.NUMBER.ply; gaps in the numbers are counted."""
    subjects: Subjects = {}
    for folder in _folders(root):
        for sequence in _folders(folder):
            frames = []
            for path in sorted(sequence.glob("[!.]*.ply")):
                match = NUMBERED.fullmatch(path.stem)
                if match is None or match["sequence"] != sequence.name:
                    skipped.add("file of another name", path)
                    continue
                frames.append(Frame(sequence.name, match["frame"], path))
            _count_gaps(frames, skipped)
            subjects.setdefault(folder.name, []).extend(frames)
    return subjects


def _count_gaps(frames: list[Frame], skipped: SkipCounter) -> None:
    for before, after in zip(frames, frames[1:], strict=False):
        gap = int(after.frame) - int(before.frame) - 1
        if gap > 0:
            absent = str(int(before.frame) + 1).zfill(len(before.frame))
            path = before.path.with_name(f"{before.sequence}.{absent}{before.path.suffix}")
            skipped.add(MISSING, path, gap)


def _listed(subjects: Subjects, wanted: Iterable[FrameName], skipped: SkipCounter) -> Subjects:
    """Those of the list; gaps outside of it do not matter."""
    skipped.counts.pop(MISSING, None)
    there = {
        (subject, frame.sequence, frame.frame): frame
        for subject, frames in subjects.items()
        for frame in frames
    }
    chosen: Subjects = {}
    for name in wanted:
        frame = there.get((name.subject, name.sequence, name.frame))
        if frame is None:
            skipped.add(MISSING, "/".join(name))
        else:
            chosen.setdefault(name.subject, []).append(frame)
    return {name: sorted(set(frames)) for name, frames in chosen.items()}


def _loose(root: Path, suffixes: tuple[str, ...]) -> Subjects:
    subjects: Subjects = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.suffix.lower() not in suffixes or any(part[0] == "." for part in inside.parts):
            continue
        single = len(inside.parts) == 1
        subject = inside.stem if single else inside.parts[0]
        sequence = "." if len(inside.parts) < 3 else "/".join(inside.parts[1:-1])
        subjects.setdefault(subject, []).append(Frame(sequence, path.stem, path))
    return subjects


def _every(frames: list[Frame], every: int) -> list[Frame]:
    """Every n-th of each sequence."""
    chosen, count = [], {}
    for frame in sorted(frames):
        number = count.get(frame.sequence, 0)
        count[frame.sequence] = number + 1
        if number % every == 0:
            chosen.append(frame)
    return chosen


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
