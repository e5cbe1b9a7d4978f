"""The NoW data as distributed: image list, pictures, boxes, scans and their landmarks."""

import itertools
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval_now.data.boxes import Box, load_box
from eval_now.data.layout import (
    BOXES,
    ENVIRONMENT_VARIABLE,
    LISTS,
    PICTURES,
    SCAN_LANDMARKS,
    SCANS,
    Split,
)
from eval_now.errors import UserError
from eval_now.geometry.align import crop_scan
from eval_now.geometry.bvh import spatial_order
from eval_now.io.files import read_bytes
from eval_now.io.landmarks import PickedPoints, parse_pp
from eval_now.io.meshes import MESH_SUFFIXES, load_vertices

OUTER_FOLDERS = (".", "dataset", "NoW_Evaluation", "NoW_Evaluation/dataset")
INNER_FOLDERS = (".", "final_release_version", "NoW_Dataset", "NoW_Dataset/final_release_version")
LOGGER = logging.getLogger(__name__)


class ImageEntry(NamedTuple):
    """One line of the image list, e.g. FaMoS_180424_03335_TA/multiview_neutral/IMG_0041.jpg."""

    name: str
    subject: str
    challenge: str
    stem: str


class Scan(NamedTuple):
    """Cropped scan vertices [mm] in the file's order, and the seven landmarks.

    walk: order of the vertices along a curve through space, which makes searches fast.
    """

    points: Float[np.ndarray, "P 3"]
    landmarks: Float[np.ndarray, "7 3"]
    walk: np.ndarray


class NowDataset:
    """Finds the parts of the data below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _find(self, part: str) -> Path | None:
        for outer, inner in itertools.product(OUTER_FOLDERS, INNER_FOLDERS):
            path = self.root / outer / inner / part
            if path.exists():
                return path
        return None

    def _must_find(self, part: str) -> Path:
        path = self._find(part)
        if path is None:
            raise UserError(
                f"{self.root}: expected {part} in it or in its NoW_Dataset folder; "
                "`eval-now data` says how to get it"
            )
        return path

    def images(self, split: Split) -> list[ImageEntry]:
        """The official list of a split."""
        return read_image_list(self._must_find(LISTS[split]))

    def check_photos(self) -> None:
        """The folder of photos must be there; without one of boxes a warning is logged."""
        self._must_find(PICTURES)
        if self._find(BOXES) is None:
            LOGGER.warning(
                "%s: no folder %s; the predictor must find the faces itself", self.root, BOXES
            )

    def picture(self, image: ImageEntry) -> Path:
        """The photo of an entry."""
        path = self._must_find(PICTURES) / image.name
        if not path.is_file():
            raise UserError(f"{path}: the photo is not there, though the image list names it")
        return path

    def box(self, image: ImageEntry) -> Box | None:
        """The distributed face box of an entry; None where the data has none."""
        folder = self._find(BOXES)
        path = None if folder is None else (folder / image.name).with_suffix(".npy")
        return None if path is None or not path.is_file() else load_box(path)

    def check_subject(self, subject: str) -> None:
        """A subject's scan and landmarks must be there; odd landmarks are logged."""
        self.scan_file(subject)
        odd = self._picked_points(subject).odd
        if odd:
            LOGGER.warning("%s: %s", self.landmark_file(subject), odd)

    def scan_file(self, subject: str) -> Path:
        """The one scan of a subject; an .obj counts before a .ply, which no official tool reads."""
        folder = self._must_find(SCANS) / subject
        has_obj = folder.is_dir() and any(
            path.suffix.lower() == ".obj" for path in folder.iterdir()
        )
        return _only_file(folder, (".obj",) if has_obj else MESH_SUFFIXES, "scan")

    def landmark_file(self, subject: str) -> Path:
        """The one landmark file of a subject's scan."""
        return _only_file(self._must_find(SCAN_LANDMARKS) / subject, (".pp",), "landmark file")

    def landmarks(self, subject: str) -> Float[np.ndarray, "7 3"]:
        """The seven landmarks of a subject's scan [mm]."""
        return self._picked_points(subject).landmarks

    def _picked_points(self, subject: str) -> PickedPoints:
        path = self.landmark_file(subject)
        return parse_pp(path, read_bytes(path))

    def scan(self, subject: str) -> Scan:
        """A subject's scan, cropped to what the benchmark measures."""
        landmarks = self.landmarks(subject)
        path = self.scan_file(subject)
        vertices = load_vertices(path)
        points = vertices[crop_scan(vertices, landmarks)]
        if len(points) < 100:
            raise UserError(
                f"{path}: only {len(points)} of {len(vertices)} vertices lie around the landmarks "
                f"of {self.landmark_file(subject)}; expected both in the same frame, in mm"
            )
        return Scan(points, landmarks, spatial_order(points))


def find_dataset(folder: Path | None) -> NowDataset:
    """The data folder from the flag or the environment."""
    if folder is None:
        named = os.environ.get(ENVIRONMENT_VARIABLE)
        if not named:
            raise UserError(
                f"no NoW data: expected --dataset DIR or the environment variable "
                f"{ENVIRONMENT_VARIABLE}; `eval-now data` says how to get it"
            )
        folder = Path(named)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `eval-now data` says how to get the NoW data")
    return NowDataset(folder)


def read_image_list(path: Path) -> list[ImageEntry]:
    """Entries of an image list; blank lines and Windows line ends are fine.

    An image listed again, also with another suffix, is left out and a warning is logged.
    """
    entries: list[ImageEntry] = []
    line_of: dict[str, int] = {}
    repeats: list[str] = []
    for number, line in enumerate(
        read_bytes(path).decode("utf-8", "replace").splitlines(), start=1
    ):
        name = line.strip().lstrip("\ufeff")
        if not name:
            continue
        parts = name.split("/")
        plain = len(parts) == 3 and all(part.strip(". ") and "\\" not in part for part in parts)
        if not plain or "\0" in name or "." not in parts[2]:
            raise UserError(
                f"{path} line {number}: expected SUBJECT/CHALLENGE/IMAGE.jpg, found {name!r}"
            )
        entry = ImageEntry(name, parts[0], parts[1], parts[2].rsplit(".", 1)[0])
        key = f"{entry.subject}/{entry.challenge}/{entry.stem}"
        if key in line_of:
            repeats.append(f"line {number} repeats line {line_of[key]}: {name!r}")
            continue
        line_of[key] = number
        entries.append(entry)
    if not entries:
        raise UserError(f"{path}: the image list is empty")
    if repeats:
        more = f" and {len(repeats) - 1} more such lines" if len(repeats) > 1 else ""
        LOGGER.warning("%s %s%s; an image counts once", path, repeats[0], more)
    return entries


def choose_challenges(images: list[ImageEntry], challenges: tuple[str, ...]) -> list[ImageEntry]:
    """Entries of the named challenges; all without a name."""
    present = sorted({image.challenge for image in images})
    for challenge in challenges:
        if challenge not in present:
            raise UserError(f"--challenge {challenge}: the image list has {', '.join(present)}")
    return [image for image in images if not challenges or image.challenge in challenges]


def _only_file(folder: Path, suffixes: tuple[str, ...], what: str) -> Path:
    found = []
    if folder.is_dir():
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".")
        )
    if len(found) != 1:
        names = ": " + ", ".join(path.name for path in found) if found else ""
        raise UserError(
            f"{folder}: expected one {what} ({'/'.join(suffixes)}), found {len(found)}{names}"
        )
    return found[0]
