"""HRNet's lists of annotated faces: image_name, scale, center_w, center_h, x0, y0, x1, ..."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pacofr.errors import UserError
from pacofr.tasks.records import FaceSample, StoredFile, numbers, read_lines
from pacofr.utils.budgets import ANNOTATION_BYTES

HRNET_BOX = 1.0
"""The box of these lists: centre of the landmarks' bounding box, side 200 scale, which is the
longer side of that."""
UNITS_PER_SCALE = 200.0


def read_landmark_csv(
    file: Path,
    images: Path,
    points: int,
    *,
    origin: float = 0.0,
    renamed: Mapping[str, str] | None = None,
) -> list[FaceSample]:
    """The faces of a list.

    Args:
        file: the list.
        images: the folder that its names start from, or its subfolder images/.
        points: landmarks of a face.
        origin: subtracted from all coordinates.
        renamed: pictures that have another name than in the list.

    Raises:
        UserError: a line has other numbers, or names a picture that is not there.
    """
    header, *lines = read_lines(file, ANNOTATION_BYTES)
    boxed = header.split(",")[2:3] == ["box_size"]
    samples = []
    for number, line in enumerate(lines, start=2):
        name, *words = line.split(",")
        where = f"{file}, line {number}"
        values = numbers(words, 3 + boxed + 2 * points, where)
        coordinates = values[3 + boxed :].reshape(points, 2) - origin
        centre = values[1 + boxed : 3 + boxed] - origin
        path = find_picture(images, (renamed or {}).get(name, name), where)
        box = square_box(centre, UNITS_PER_SCALE * float(values[0]))
        samples.append(FaceSample(name, StoredFile(path), coordinates, box))
    return samples


def find_picture(folder: Path, name: str, where: str) -> Path:
    """`folder/name` or `folder/images/name`.

    Raises:
        UserError: neither is there, or the name leads out of the folder.
    """
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise UserError(f"{where}: expected a picture of the data set, got {name[:100]!r}")
    for path in (folder / name, folder / "images" / name):
        if path.is_file():
            return path
    raise UserError(f"{where}: expected the picture {folder / name}, found none")


def square_box(centre: Float64[np.ndarray, "2"], side: float) -> Float64[np.ndarray, "4"]:
    """x0, y0, x1, y1 of a square."""
    return np.concatenate([centre - side / 2, centre + side / 2])
