"""The NoW data as distributed: image lists, photos, face boxes, scans and their landmarks."""

import itertools
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.data.boxes import Box, load_box
from eval_now.data.image_list import ImageEntry, read_image_list
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
from eval_now.geometry.closest_points.morton import morton_order
from eval_now.geometry.crop import crop_mask
from eval_now.io.budgets import MAX_LANDMARK_BYTES
from eval_now.io.files import read_bytes
from eval_now.io.landmarks import PickedPoints, parse_pp
from eval_now.io.meshes import MESH_SUFFIXES, load_vertices

OUTER_FOLDERS = (".", "dataset", "NoW_Evaluation", "NoW_Evaluation/dataset")
INNER_FOLDERS = (".", "final_release_version", "NoW_Dataset", "NoW_Dataset/final_release_version")
MIN_CROPPED_VERTICES = 100
LOGGER = logging.getLogger(__name__)


class Scan(NamedTuple):
    """Cropped scan vertices [mm] in file order, their Morton order, and the landmarks [mm]."""

    points: Float[np.ndarray, "P 3"]
    landmarks: Float[np.ndarray, "7 3"]
    morton_order: Int[np.ndarray, " P"]


class NowDataset:
    """The files of the data below one folder, wherever the usual archives put them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _find(self, part: str) -> Path | None:
        for outer, inner in itertools.product(OUTER_FOLDERS, INNER_FOLDERS):
            path = self.root / outer / inner / part
            if path.exists():
                return path
        return None

    def _require(self, part: str) -> Path:
        path = self._find(part)
        if path is None:
            raise UserError(
                f"{self.root}: expected {part} in it or in its NoW_Dataset folder; "
                "`eval-now data` says how to get it"
            )
        return path

    def images(self, split: Split) -> list[ImageEntry]:
        """The official image list of a split."""
        return read_image_list(self._require(LISTS[split]))

    def scanned_subjects(self) -> list[str]:
        """Names of the people with a scan, sorted."""
        folders = self._require(SCANS).iterdir()
        return sorted(path.name for path in folders if path.is_dir() and path.name[0] != ".")

    def check_photos(self) -> None:
        """Require the folder of photos; log a warning if there is none of face boxes."""
        self._require(PICTURES)
        if self._find(BOXES) is None:
            LOGGER.warning(
                "%s: no folder %s; the predictor must find the faces itself", self.root, BOXES
            )

    def photo_file(self, image: ImageEntry) -> Path:
        """Path of an entry's photo."""
        path = self._require(PICTURES) / image.name
        if not path.is_file():
            raise UserError(f"{path}: the photo is not there, though the image list names it")
        return path

    def box(self, image: ImageEntry) -> Box | None:
        """The distributed face box of an entry; None if the data has none."""
        folder = self._find(BOXES)
        path = None if folder is None else (folder / image.name).with_suffix(".npy")
        return None if path is None or not path.is_file() else load_box(path)

    def check_subject(self, subject: str) -> None:
        """Require a subject's scan and landmarks; log what is unusual about the landmarks."""
        self.scan_file(subject)
        remarks = self._picked_points(subject).remarks
        if remarks:
            LOGGER.warning("%s: %s", self.landmark_file(subject), remarks)

    def scan_file(self, subject: str) -> Path:
        """Path of the one scan of a subject: the .obj, or the .ply if there is no .obj."""
        folder = self._require(SCANS) / subject
        has_obj = folder.is_dir() and any(
            path.suffix.lower() == ".obj" for path in folder.iterdir()
        )
        return _single_file(folder, (".obj",) if has_obj else MESH_SUFFIXES, "scan")

    def landmark_file(self, subject: str) -> Path:
        """Path of the one landmark file of a subject's scan."""
        return _single_file(self._require(SCAN_LANDMARKS) / subject, (".pp",), "landmark file")

    def landmarks(self, subject: str) -> Float[np.ndarray, "7 3"]:
        """The landmarks of a subject's scan [mm]."""
        return self._picked_points(subject).landmarks

    def _picked_points(self, subject: str) -> PickedPoints:
        path = self.landmark_file(subject)
        return parse_pp(path, read_bytes(path, MAX_LANDMARK_BYTES))

    def scan(self, subject: str) -> Scan:
        """Read a subject's scan and crop it to the evaluated region."""
        landmarks = self.landmarks(subject)
        path = self.scan_file(subject)
        vertices = load_vertices(path)
        points = vertices[crop_mask(vertices, landmarks)]
        if len(points) < MIN_CROPPED_VERTICES:
            raise UserError(
                f"{path}: only {len(points)} of {len(vertices)} vertices lie around the landmarks "
                f"of {self.landmark_file(subject)}; expected both in the same frame, in mm"
            )
        return Scan(points, landmarks, morton_order(points))


def open_dataset(folder: Path | None) -> NowDataset:
    """The data in `folder`, or without one in the folder that NOW_DATASET names."""
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


def _single_file(folder: Path, suffixes: tuple[str, ...], what: str) -> Path:
    """The only visible file in `folder` with one of the suffixes, in any case."""
    matches = []
    if folder.is_dir():
        matches = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".")
        )
    if len(matches) != 1:
        names = ": " + ", ".join(path.name for path in matches) if matches else ""
        raise UserError(
            f"{folder}: expected one {what} ({'/'.join(suffixes)}), found {len(matches)}{names}"
        )
    return matches[0]
