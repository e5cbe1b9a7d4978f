"""Reader of Wavefront OBJ: vertices and faces in one compiled pass over the bytes."""

from pathlib import Path
from typing import no_type_check

import numpy as np

from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.geometry.numba_jit import cached_njit
from eval_now.io.budgets import MAX_COORDINATE, MAX_TRIANGLES, MAX_VERTICES

_GOOD, _FULL_VERTICES, _FULL_TRIANGLES, _BAD_VERTEX, _FEW_CORNERS, _BAD_CORNER = range(6)
_NEWLINE, _RETURN, _PLUS, _MINUS, _POINT, _SLASH, _ZERO, _NINE = b"\n\r+-./09"
_UPPER_E, _LOWER_E, _BACKSLASH, _F, _V = b"Ee\\fv"
_WORD, _BLANK, _END, _JOINER = range(4)
_KINDS = np.zeros(256, np.uint8)  # kind of each byte
_KINDS[list(b" \t\v\f")], _KINDS[list(b"\n\r#")], _KINDS[_BACKSLASH] = _BLANK, _END, _JOINER


def read_obj(path: Path, data: bytes, with_faces: bool = True) -> Mesh:
    """Parse the vertices and faces of an OBJ file; polygons become triangle fans.

    Understands colours and weights behind the coordinates, texture and normal indices, negative
    indices, comments anywhere, a backslash that continues a line, and any line ends; other
    statements are skipped. Coordinates of up to 15 digits are exact, others right to 4 units in the
    last place.

    Args:
        path: for error messages.
        data: content of the file.
        with_faces: False skips the faces.

    Raises:
        UserError: names the first line that is malformed or refers to a missing vertex.
    """
    text = np.frombuffer(data, np.uint8)
    vertices = np.empty((len(data) // 32 + 8, 3))  # typical files fit, others grow
    triangles = np.empty((len(data) // 32 + 8 if with_faces else 0, 3), np.int64)
    lines = np.empty(len(triangles), np.int64)
    at, v, t = 0, 0, 0
    while at < len(data):
        outcome, at, v, t = _parse(
            text, at, v, t, vertices, triangles, lines, with_faces, MAX_COORDINATE
        )
        if outcome == _FULL_VERTICES:
            vertices = _grow(vertices, MAX_VERTICES, f"{path}: expected at most {{}} vertices")
        elif outcome == _FULL_TRIANGLES:
            message = f"{path}: expected at most {{}} triangles"
            triangles = _grow(triangles, MAX_TRIANGLES, message)
            lines = _grow(lines, MAX_TRIANGLES, message)
        elif outcome != _GOOD:
            raise UserError(_describe(path, data, outcome, at))
    vertices, triangles = vertices[:v], triangles[:t]
    if t and (triangles.min() < 0 or triangles.max() >= v):
        wrong = ((triangles < 0) | (triangles >= v)).any(axis=1).argmax()
        number = _line_number(data, int(lines[wrong]))
        raise UserError(
            f"{path} line {number}: a face names a vertex that is not there "
            f"(the file has {v} vertices)"
        )
    return Mesh(vertices, triangles)


def _grow(array: np.ndarray, limit: int, message: str) -> np.ndarray:
    """A copy with twice as many rows, at most `limit`."""
    if len(array) >= limit:
        raise UserError(message.format(limit))
    larger = np.empty((min(2 * len(array), limit), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _line_number(data: bytes, offset: int) -> int:
    """Line of a byte, counted from 1 as an editor does."""
    before = data[:offset]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _describe(path: Path, data: bytes, outcome: int, offset: int) -> str:
    """Error message for the statement or word at `offset`."""
    statement = data[offset : offset + 200].decode("latin-1")
    line = statement.replace("\r", "\n").split("\n")[0]
    message = f"{path} line {_line_number(data, offset)}: "
    if outcome == _FEW_CORNERS:
        return message + f"expected a face of 3 or more corners: {line!r}"
    if outcome == _BAD_CORNER:
        word = line.split()[0] if line.split() else ""
        return message + f"expected a vertex number from 1 on, found {word!r}"
    numbers = " ".join(line.split()[1:4])[:80]
    return message + f"expected 3 finite numbers below {MAX_COORDINATE:g}, found {numbers!r}"


@cached_njit()
@no_type_check
def _continues(text, i):  # noqa: ANN001, ANN202
    """Length of the line continuation at position i, 0 if there is none."""
    if text[i] != _BACKSLASH or i + 1 >= len(text):
        return 0
    if text[i + 1] == _NEWLINE:
        return 2
    if text[i + 1] != _RETURN:
        return 0
    return 3 if i + 2 < len(text) and text[i + 2] == _NEWLINE else 2


@cached_njit()
@no_type_check
def _skip_blank(text, i):  # noqa: ANN001, ANN202
    """First position from i on that is neither a blank nor part of a line continuation."""
    while i < len(text):
        kind = _KINDS[text[i]]
        if kind == _BLANK:
            i += 1
        elif kind == _JOINER and _continues(text, i):
            i += _continues(text, i)
        else:
            break
    return i


@cached_njit()
@no_type_check
def _ends_word(text, i):  # noqa: ANN001, ANN202
    """Whether a word ends before position i."""
    if i >= len(text):
        return True
    kind = _KINDS[text[i]]
    return kind != _WORD and (kind != _JOINER or _continues(text, i) > 0)


@cached_njit()
@no_type_check
def _ends_statement(text, i):  # noqa: ANN001, ANN202
    """Whether a statement ends at position i, which is not blank."""
    return i >= len(text) or _KINDS[text[i]] == _END


@cached_njit()
@no_type_check
def _skip_word(text, i):  # noqa: ANN001, ANN202
    """Position behind the word at i."""
    while not _ends_word(text, i):
        i += 1
    return i


@cached_njit()
@no_type_check
def _skip_line(text, i):  # noqa: ANN001, ANN202
    """Start of the line after position i."""
    while i < len(text) and text[i] != _NEWLINE and text[i] != _RETURN:
        i += 1
    return i + 1


@cached_njit()
@no_type_check
def _number(text, i, powers):  # noqa: ANN001, ANN202
    """Decimal number at position i, as (value, position behind it); position -1 if malformed."""
    count = len(text)
    negative = False
    if i < count and (text[i] == _MINUS or text[i] == _PLUS):
        negative = text[i] == _MINUS
        i += 1
    mantissa = np.uint64(0)
    exponent, has_digits, has_point = 0, False, False
    while i < count:
        c = text[i]
        if _ZERO <= c <= _NINE:
            has_digits = True
            if mantissa < np.uint64(10**18):
                mantissa = mantissa * np.uint64(10) + np.uint64(c - _ZERO)
                exponent -= has_point
            else:
                exponent += not has_point
        elif c == _POINT and not has_point:
            has_point = True
        else:
            break
        i += 1
    if i < count and (text[i] == _LOWER_E or text[i] == _UPPER_E):
        i += 1
        falls = i < count and text[i] == _MINUS
        if i < count and (text[i] == _MINUS or text[i] == _PLUS):
            i += 1
        power, has_power = 0, False
        while i < count and _ZERO <= text[i] <= _NINE:
            power = min(power * 10 + (text[i] - _ZERO), 10**9)
            has_power = True
            i += 1
        has_digits = has_digits and has_power
        exponent += -power if falls else power
    if not has_digits or not _ends_word(text, i):
        return 0.0, -1
    value = np.float64(mantissa)
    if mantissa == 0 or exponent < -350:
        value = 0.0
    elif exponent > 300:
        value = np.inf
    elif exponent >= 0:
        value *= powers[exponent]
    elif exponent >= -300:
        value /= powers[-exponent]
    else:
        value = value / powers[300] / powers[-exponent - 300]
    return (-value if negative else value), i


@cached_njit()
@no_type_check
def _parse(  # noqa: ANN202
    text, i, v, t, vertices, triangles, lines, with_faces, limit  # noqa: ANN001
):  # fmt: skip
    """Parse from position i on, with v vertices and t triangles read before.

    Fills the arrays; `lines` receives the offset of each triangle's statement. Returns the outcome,
    the position of the statement or word that caused it, and the numbers of vertices and triangles.
    """
    powers = np.array([10.0**k for k in range(301)])
    while i < len(text):
        i = _skip_blank(text, i)
        begin = i
        if i < len(text) and _ends_word(text, i + 1):
            if text[i] == _V:
                if v == len(vertices):
                    return _FULL_VERTICES, begin, v, t
                i += 1
                for k in range(3):
                    value, i = _number(text, _skip_blank(text, i), powers)
                    if i < 0 or not abs(value) < limit:
                        return _BAD_VERTEX, begin, v, t
                    vertices[v, k] = value
                v += 1
            elif text[i] == _F and with_faces:
                i = _skip_blank(text, i + 1)
                corners, first, previous, before = 0, 0, 0, t
                while not _ends_statement(text, i):
                    word = i
                    negative = text[i] == _MINUS
                    i += negative
                    index = 0
                    while i < len(text) and _ZERO <= text[i] <= _NINE:
                        index = min(index * 10 + (text[i] - _ZERO), 10**10)
                        i += 1
                    if index == 0 or not (_ends_word(text, i) or text[i] == _SLASH):
                        return _BAD_CORNER, word, v, t
                    i = _skip_blank(text, _skip_word(text, i))
                    index = v - index if negative else index - 1
                    corners += 1
                    if corners == 1:
                        first = index
                    elif corners >= 3:
                        if t == len(triangles):
                            return _FULL_TRIANGLES, begin, v, before
                        triangles[t, 0], triangles[t, 1], triangles[t, 2] = first, previous, index
                        lines[t] = begin
                        t += 1
                    previous = index
                if corners < 3:
                    return _FEW_CORNERS, begin, v, t
        i = _skip_line(text, i)
    return _GOOD, i, v, t
