"""AFLW-19 (Zhu et al. 2016): 19 landmarks of the AFLW pictures, all of them scored."""

from pathlib import Path
from typing import Any

import numpy as np

from pacofr.errors import UserError
from pacofr.tasks.alignment.csv_lists import find_picture
from pacofr.tasks.records import FaceSample, StoredFile
from pacofr.utils.bounded import open_regular
from pacofr.utils.budgets import ANNOTATION_BYTES

POINTS = 19
TRAIN_FACES = 20_000
"""The first faces of the permutation `ra` are the trainset."""
VARIABLES = ("bbox", "data", "mask_new", "nameList", "ra")
MAX_FACES = 1_000_000

Subsets = dict[str, list[int]]


def load_aflw(root: Path, split: str) -> tuple[list[FaceSample], Subsets]:
    """A split; the test split with its subset of frontal faces (all landmarks visible)."""
    file = root / "AFLWinfo_release.mat"
    table = read_aflw_table(file)
    order = table["ra"].ravel().astype(np.int64) - 1
    faces = len(table["bbox"])
    if sorted(order.tolist()) != list(range(faces)):
        raise UserError(f"{file}: expected a permutation of {faces} faces in ra, got other numbers")
    order = order[:TRAIN_FACES] if split == "train" else order[TRAIN_FACES:]
    images = root / "data" / "flickr"
    samples = []
    for face in order.tolist():
        name = str(table["nameList"].ravel()[face].ravel()[0])
        left, right, top, bottom = table["bbox"][face].astype(np.float64)
        points = table["data"][face].astype(np.float64).reshape(2, POINTS).T.copy()
        box = np.array([left, top, right, bottom])
        if not np.isfinite(points).all() or not (box[2:] > box[:2]).all():
            raise UserError(f"{file}: expected finite landmarks and a box of the face {name}")
        path = find_picture(images, name, f"{file}, face {face + 1}")
        samples.append(FaceSample(f"{name}#{face + 1}", StoredFile(path), points, box))
    visible = (table["mask_new"][order] == 1).all(axis=1)
    return samples, ({} if split == "train" else {"frontal": np.flatnonzero(visible).tolist()})


def read_aflw_table(file: Path) -> dict[str, Any]:
    """The variables of AFLWinfo_release.mat; their shapes are checked before they are read.

    Raises:
        UserError: the file is missing, damaged, or holds others.
    """
    from scipy.io import loadmat, whosmat  # not needed for any other data set

    try:
        with open_regular(file, ANNOTATION_BYTES) as stream:
            shapes = {name: shape for name, shape, _ in whosmat(stream)}
            _check_shapes(file, shapes)
            stream.seek(0)
            return loadmat(stream, variable_names=list(VARIABLES))
    except FileNotFoundError as error:
        raise UserError(f"{file}: expected AFLW's annotations, found none") from error
    except UserError:
        raise
    except Exception as error:  # the reader of damaged files raises nearly anything
        raise UserError(
            f"{file} is damaged or no MATLAB file of version 5: copy it again"
        ) from error


def _check_shapes(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    faces = shapes.get("bbox", (0,))[0]
    expected = {"bbox": (faces, 4), "data": (faces, 2 * POINTS), "mask_new": (faces, POINTS)}
    for name, shape in expected.items():
        if shapes.get(name) != shape or not 0 < faces <= MAX_FACES:
            raise UserError(f"{file}: expected {name} of shape {shape}, got {shapes.get(name)}")
    for name in ("nameList", "ra"):
        if int(np.prod(shapes.get(name, (0,)))) != faces:
            raise UserError(f"{file}: expected {faces} faces in {name}, got {shapes.get(name)}")
