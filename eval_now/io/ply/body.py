"""The rows of a PLY file's elements, in ascii and binary files alike."""

from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_TRIANGLES
from eval_now.io.ply.header import Element, Property

_CORNERS_AT_ONCE = 2**20


class Body(NamedTuple):
    """All values as one array of cells: the bytes, or the numbers of an ascii file.

    order: byte order, "" for ascii. fault: why the cells end before the file, "" if they do not.
    """

    path: Path
    cells: Shaped[np.ndarray, " C"]
    order: str
    fault: str

    def width(self, kind: str) -> int:
        """Number of cells of one value."""
        return int(kind[1]) if self.order else 1

    def decode(self, cells: Shaped[np.ndarray, "R W"], kind: str) -> Num[np.ndarray, "R N"]:
        """Values of rows of cells."""
        return np.ascontiguousarray(cells).view(self.order + kind) if self.order else cells

    def length_at(self, at: int, kind: str) -> int:
        """The length of the list that begins at a cell; -1 if there is none."""
        view = self.cells.data  # faster than the array, element by element
        if at + self.width(kind) > len(view):
            return -1
        if not self.order:
            return int(view[at]) if 0 <= view[at] <= len(view) else -1
        if kind == "u1":
            return view[at]
        order = "big" if self.order == ">" else "little"
        return int.from_bytes(view[at : at + int(kind[1])], order, signed=kind[0] == "i")

    def ends_early(self, element: Element) -> UserError:
        """The error of a file that has too few values for an element."""
        return UserError(
            f"{self.path}{self.fault or f': the file ends before its last {element.name}'}"
        )


class Polygons(NamedTuple):
    """Vertex indices of all polygons one after the other, and the number of corners of each."""

    corners: Num[np.ndarray, " N"]
    sizes: Int[np.ndarray, " F"]


class _Rows(NamedTuple):
    """Rows of equal width, the columns of each property, and the cell behind the last row."""

    cells: Shaped[np.ndarray, "R W"]
    columns: dict[str, slice]
    end: int


def read_vertices(body: Body, at: int, element: Element) -> tuple[int, Float[np.ndarray, "V 3"]]:
    """The cell behind the element that begins at cell `at`, and its x, y and z."""
    rows = _equal_rows(body, at, element)
    if rows is None:
        raise body.ends_early(element)
    kinds = {entry.name: entry.type for entry in element.properties}
    axes = [body.decode(rows.cells[:, rows.columns[axis]], kinds[axis])[:, 0] for axis in "xyz"]
    with np.errstate(invalid="ignore"):  # a signalling NaN, which the reader refuses as any other
        return rows.end, np.stack(axes, axis=1).astype(np.float64)


def read_polygons(body: Body, at: int, element: Element) -> tuple[int, Polygons]:
    """The cell behind the element, and its polygons; other elements have none.

    Raises:
        UserError: a polygon has fewer than 3 corners, there are too many, or the file ends early.
    """
    rows = _equal_rows(body, at, element)
    if rows is None:
        return _walk_rows(body, at, element)
    if element.corners is None:
        return rows.end, Polygons(np.zeros(0), np.zeros(0, np.int64))
    corners = body.decode(rows.cells[:, rows.columns[element.corners.name]], element.corners.type)
    sizes = np.full(len(corners), corners.shape[1])
    _check_sizes(body.path, sizes)
    return rows.end, Polygons(corners.ravel(), sizes)


def _equal_rows(body: Body, begin: int, element: Element) -> _Rows | None:
    """All rows, if their lists are as long as those of the first row; else None."""
    columns: dict[str, slice] = {}
    lengths: list[slice] = []
    width = 0
    for entry in element.properties:
        count = 1
        if entry.length is not None:
            count = body.length_at(begin + width, entry.length)
            if count < 0:
                return None
            lengths.append(slice(width, width + body.width(entry.length)))
            width = lengths[-1].stop
        columns[entry.name] = slice(width, width + count * body.width(entry.type))
        width = columns[entry.name].stop
    end = begin + element.count * width
    if end > len(body.cells):
        return None
    rows = body.cells[begin:end].reshape(element.count, width)
    if any((rows[:, field] != rows[:1, field]).any() for field in lengths):
        return None
    return _Rows(rows, columns, end)


def _walk_rows(body: Body, at: int, element: Element) -> tuple[int, Polygons]:
    """Like `read_polygons`, for rows that differ: only their lengths are read row by row."""
    starts, sizes = array("q"), array("q")
    corners = element.corners
    lists, behind = _list_places(body, element)
    if not lists:  # rows of equal width that the file is too short for
        raise body.ends_early(element)
    for _ in range(element.count):
        for entry, length, before in lists:
            at += before
            count = body.length_at(at, length)
            at += body.width(length)
            if count < 0:
                raise body.ends_early(element)
            if entry is corners:
                if count < 3:
                    raise _few_corners(body.path, len(sizes), count)
                starts.append(at)
                sizes.append(count)
            at += count * body.width(entry.type)
        at += behind
        if at > len(body.cells):
            raise body.ends_early(element)
    counts = np.array(sizes, np.int64)
    _check_sizes(body.path, counts)
    if corners is None or not len(counts):
        return at, Polygons(np.zeros(0), counts)
    return at, Polygons(_gather(body, np.array(starts, np.int64), counts, corners.type), counts)


class _ListPlace(NamedTuple):
    """A list in a row, the type of its length, and the width of the single values before it."""

    entry: Property
    length: str
    before: int


def _list_places(body: Body, element: Element) -> tuple[list[_ListPlace], int]:
    """The lists of a row, and the width of the single values behind the last."""
    places: list[_ListPlace] = []
    width = 0
    for entry in element.properties:
        if entry.length is None:
            width += body.width(entry.type)
        else:
            places.append(_ListPlace(entry, entry.length, width))
            width = 0
    return places, width


def _gather(
    body: Body, starts: Int[np.ndarray, " F"], sizes: Int[np.ndarray, " F"], kind: str
) -> Num[np.ndarray, " N"]:
    """sizes[i] values from cell starts[i] on, for all i one after the other."""
    width = body.width(kind)
    ends = np.cumsum(sizes)
    origins = starts - (ends - sizes) * width
    parts = []
    for begin in range(0, int(ends[-1]), _CORNERS_AT_ONCE):
        index = np.arange(begin, min(begin + _CORNERS_AT_ONCE, int(ends[-1])))
        cells = origins[np.searchsorted(ends, index, side="right")] + index * width
        parts.append(body.decode(body.cells[cells[:, None] + np.arange(width)], kind)[:, 0])
    return np.concatenate(parts)


def _few_corners(path: Path, face: int, corners: int) -> UserError:
    return UserError(f"{path}: face {face} has {corners} corners, expected 3 or more")


def _check_sizes(path: Path, sizes: Int[np.ndarray, " F"]) -> None:
    small = np.flatnonzero(sizes < 3)
    if len(small):
        raise _few_corners(path, int(small[0]), int(sizes[small[0]]))
    if int(sizes.sum()) - 2 * len(sizes) > MAX_TRIANGLES:
        raise UserError(f"{path}: expected at most {MAX_TRIANGLES} triangles")
