"""AFLW-19 (Zhu et al. 2016): 19 landmarks of the AFLW pictures, all of them scored."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from flame_assets.inert.files import ReadError
from flame_assets.inert.mat import MatCell, read_mat
from pacofr.errors import UserError
from pacofr.tasks.alignment.csv_lists import find_picture
from pacofr.tasks.records import FaceSample, StoredFile

POINTS = 19
TRAIN_FACES = 20_000
"""The first faces of the permutation `ra` are the trainset."""
MAX_FACES = 1_000_000

Subsets = dict[str, list[int]]


class AflwTable(NamedTuple):
    """The variables of AFLWinfo_release.mat, one row a face."""

    names: tuple[str, ...]
    """Pictures below data/flickr."""
    boxes: Shaped[np.ndarray, "N 4"]
    """Left, right, top, bottom [px]."""
    points: Shaped[np.ndarray, "N 38"]
    """x of the 19 landmarks, then y [px]."""
    visible: Shaped[np.ndarray, "N 19"]
    order: Shaped[np.ndarray, " N"]
    """A permutation of the faces, from 0."""


def load_aflw(root: Path, split: str) -> tuple[list[FaceSample], Subsets]:
    """A split; the test split with its subset of frontal faces (all landmarks visible)."""
    file = root / "AFLWinfo_release.mat"
    table = read_aflw_table(file)
    order = table.order[:TRAIN_FACES] if split == "train" else table.order[TRAIN_FACES:]
    images = root / "data" / "flickr"
    samples = []
    for face in order.tolist():
        name = table.names[face]
        left, right, top, bottom = table.boxes[face].astype(np.float64)
        points = table.points[face].astype(np.float64).reshape(2, POINTS).T.copy()
        box = np.array([left, top, right, bottom])
        if not (np.isfinite(points).all() and np.isfinite(box).all() and (box[2:] > box[:2]).all()):
            raise UserError(f"{file}: expected finite landmarks and a box of the face {name}")
        path = find_picture(images, name, f"{file}, face {face + 1}")
        samples.append(FaceSample(f"{name}#{face + 1}", StoredFile(path), points, box))
    visible = (table.visible[order] == 1).all(axis=1)
    return samples, ({} if split == "train" else {"frontal": np.flatnonzero(visible).tolist()})


def read_aflw_table(file: Path) -> AflwTable:
    """The annotations of all faces.

    Raises:
        UserError: the file is missing, damaged, or holds others.
    """
    if not file.exists():
        raise UserError(f"{file}: expected AFLW's annotations, found none")
    try:
        found = read_mat(file, ("bbox", "data", "mask_new", "nameList", "ra"))
    except ReadError as error:
        raise UserError(f"{error}; expected AFLW's annotations") from error
    boxes = found.get("bbox")
    faces = len(boxes) if isinstance(boxes, np.ndarray) else 0
    if not 0 < faces <= MAX_FACES:
        raise UserError(f"{file}: expected bbox of shape (faces, 4), got {_said(boxes)}")

    def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
        value = found.get(name)
        if not isinstance(value, np.ndarray) or value.shape != shape:
            raise UserError(f"{file}: expected {name} of shape {shape}, got {_said(value)}")
        return value

    names, order = found.get("nameList"), found.get("ra")
    if not isinstance(names, MatCell) or len(names.values) != faces:
        raise UserError(f"{file}: expected {faces} names in nameList, got {_said(names)}")
    if any(not isinstance(name, tuple) or len(name) != 1 for name in names.values):
        raise UserError(f"{file}: expected names of pictures in nameList, got other values")
    ranks = order.ravel() if isinstance(order, np.ndarray) else np.zeros(0)
    if not np.array_equal(np.sort(ranks), np.arange(1, faces + 1)):
        raise UserError(f"{file}: expected a permutation of {faces} faces in ra, got other numbers")
    return AflwTable(
        names=tuple(str(name[0]) for name in names.values),
        boxes=numbers("bbox", (faces, 4)),
        points=numbers("data", (faces, 2 * POINTS)),
        visible=numbers("mask_new", (faces, POINTS)),
        order=ranks.astype(np.int64) - 1,
    )


def _said(value: object) -> str:
    if isinstance(value, np.ndarray | MatCell):
        return f"{value.shape}"
    return "none" if value is None else "text"
