"""Wavefront OBJ: a fast reader for plain files, and a careful one that names the faulty line.

The fast reader stops at anything it does not know; the careful one then reads the file again and
either understands it (17-digit numbers, say) or raises the error.
"""

from pathlib import Path
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int

from eval_now.errors import UserError
from eval_now.geometry.numba_jit import cached_njit
from eval_now.io.text import MAX_COORDINATE, parse_floats, split_lines

Vertices = Float[np.ndarray, "V 3"]
Triangles = Int[np.ndarray, "F 3"]


def read_obj(path: Path, data: bytes, with_faces: bool = True) -> tuple[Vertices, Triangles]:
    """Vertices and triangles of an OBJ file; polygons become fans, the rest is skipped."""
    text = np.frombuffer(data, np.uint8)
    vertex_count, triangle_count = _count(text)
    vertices = np.empty((vertex_count, 3))
    triangles = np.empty((triangle_count if with_faces else 0, 3), np.int64)
    read_vertices, read_triangles, plain = _read(text, vertices, triangles, with_faces)
    triangles = triangles[:read_triangles]
    inside = triangles.size == 0 or (triangles.min() >= 0 and triangles.max() < read_vertices)
    vertices = vertices[:read_vertices]
    if plain and inside and (np.abs(vertices) < MAX_COORDINATE).all():
        return vertices, triangles
    return _read_carefully(path, data, with_faces)


@cached_njit()
@no_type_check
def _count(text):  # noqa: ANN001, ANN202
    """Upper bounds for vertices and triangles, from the beginnings of the lines."""
    vertices, triangles = 0, 0
    fresh, face, in_word = True, False, False
    for i in range(len(text)):
        c = text[i]
        if c == 10 or c == 13:
            fresh, face, in_word = True, False, False
        elif c == 32 or c == 9:
            in_word = False
        elif fresh:
            fresh = False
            following = text[i + 1] if i + 1 < len(text) else 10
            if following in (32, 9, 10, 13):
                if c == 118:  # v
                    vertices += 1
                elif c == 102:  # f
                    face = True
                    in_word = True
        elif face and not in_word:
            in_word = True
            triangles += 1
    return vertices, triangles


@cached_njit()
@no_type_check
def _blank(text, i):  # noqa: ANN001, ANN202
    """First place from i on that is neither space nor tab."""
    while i < len(text) and (text[i] == 32 or text[i] == 9):
        i += 1
    return i


@cached_njit()
@no_type_check
def _number(text, i, powers):  # noqa: ANN001, ANN202
    """Decimal number at place i: (value, place behind it, understood); right to 2^-52."""
    count = len(text)
    negative = False
    if i < count and (text[i] == 45 or text[i] == 43):
        negative = text[i] == 45
        i += 1
    mantissa = np.uint64(0)
    digits, exponent, seen, point = 0, 0, False, False
    while i < count:
        c = text[i]
        if 48 <= c <= 57:
            seen = True
            if mantissa > 0 or c > 48:
                digits += 1
            mantissa = mantissa * np.uint64(10) + np.uint64(c - 48)
            exponent -= point
        elif c == 46 and not point:
            point = True
        else:
            break
        i += 1
    if not seen or digits > 18:
        return 0.0, i, False
    if i < count and (text[i] == 101 or text[i] == 69):
        i += 1
        down = i < count and text[i] == 45
        if i < count and (text[i] == 45 or text[i] == 43):
            i += 1
        power, seen = 0, False
        while i < count and 48 <= text[i] <= 57 and power < 1000:
            power = power * 10 + (text[i] - 48)
            seen = True
            i += 1
        if not seen:
            return 0.0, i, False
        exponent += -power if down else power
    if exponent < -22 or exponent > 22:
        return 0.0, i, mantissa == 0
    value = np.float64(mantissa)
    value = value / powers[-exponent] if exponent < 0 else value * powers[exponent]
    if i < count and text[i] not in (32, 9, 10, 13):
        return value, i, False
    return (-value if negative else value), i, True


@cached_njit()
@no_type_check
def _read(text, vertices, triangles, with_faces):  # noqa: ANN001, ANN202
    """Fill vertices and triangles; (vertices read, triangles read, everything understood)."""
    powers = np.array([10.0**k for k in range(23)])
    count, i, v, t = len(text), 0, 0, 0
    while i < count:
        i = _blank(text, i)
        if i < count and (i + 1 == count or text[i + 1] in (32, 9, 10, 13)):
            if text[i] == 118:  # v x y z, then perhaps a weight or a colour
                i += 1
                for k in range(3):
                    i = _blank(text, i)
                    vertices[v, k], i, good = _number(text, i, powers)
                    if not good:
                        return v, t, False
                v += 1
            elif text[i] == 102 and with_faces:  # f a/b/c ...
                i += 1
                corners, first, last = 0, 0, 0
                while True:
                    i = _blank(text, i)
                    if i >= count or text[i] == 10 or text[i] == 13:
                        break
                    negative = text[i] == 45
                    i += negative
                    index, start = 0, i
                    while i < count and 48 <= text[i] <= 57:
                        index = index * 10 + (text[i] - 48)
                        i += 1
                    if i == start or i - start > 15:
                        return v, t, False
                    while i < count and (47 <= text[i] <= 57 or text[i] == 45):
                        i += 1  # texture and normal indices
                    if i < count and text[i] not in (32, 9, 10, 13):
                        return v, t, False
                    index = v - index if negative else index - 1
                    corners += 1
                    if corners == 1:
                        first = index
                    elif corners >= 3:
                        triangles[t, 0], triangles[t, 1], triangles[t, 2] = first, last, index
                        t += 1
                    last = index
                if corners < 3:
                    return v, t, False
        while i < count and text[i] != 10 and text[i] != 13:
            if text[i] == 92:  # a backslash may carry the line on
                return v, t, False
            i += 1
        i += 1
    return v, t, True


def _read_carefully(path: Path, data: bytes, with_faces: bool) -> tuple[Vertices, Triangles]:
    """The same in Python, line by line, with an error that names the line."""
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    lines_of_triangles: list[int] = []
    for number, line in enumerate(split_lines(data), start=1):
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append(parse_floats(words[1:4], 3, path, number))
        elif words[0] == "f" and with_faces:
            corners = [_corner(word, len(vertices), path, number) for word in words[1:]]
            if len(corners) < 3:
                raise UserError(
                    f"{path} line {number}: expected a face of 3 or more corners: {line!r}"
                )
            for second, third in zip(corners[1:], corners[2:], strict=False):
                triangles.append((corners[0], second, third))
                lines_of_triangles.append(number)
    faces = np.array(triangles, np.int64).reshape(-1, 3)
    wrong = np.flatnonzero((faces < 0).any(axis=1) | (faces >= len(vertices)).any(axis=1))
    if len(wrong):
        raise UserError(
            f"{path} line {lines_of_triangles[wrong[0]]}: a face names a vertex that is not there "
            f"(the file has {len(vertices)} vertices)"
        )
    return np.array(vertices).reshape(-1, 3), faces


def _corner(word: str, vertices_so_far: int, path: Path, number: int) -> int:
    """Vertex index of a face corner such as 7, 7/1, 7//2 or -1."""
    try:
        index = int(word.split("/")[0])
    except ValueError:
        index = 0
    if index == 0 or abs(index) > 2**31:
        raise UserError(f"{path} line {number}: expected a vertex number from 1 on, found {word!r}")
    return index - 1 if index > 0 else vertices_so_far + index
