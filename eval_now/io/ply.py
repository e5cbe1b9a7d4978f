"""Stanford PLY, ascii and binary, both byte orders: vertices and triangles, nothing else."""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eval_now.errors import UserError
from eval_now.io.text import MAX_COORDINATE, parse_floats, split_lines

SCALARS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
STRUCT_CODES = {
    "i1": "b",
    "u1": "B",
    "i2": "h",
    "u2": "H",
    "i4": "i",
    "u4": "I",
    "f4": "f",
    "f8": "d",
}
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


class _Property(NamedTuple):
    """One property; `length` is the type of a list's length, None for a single value."""

    name: str
    kind: str
    length: str | None


class _Element(NamedTuple):
    name: str
    count: int
    properties: list[_Property]


class _Header(NamedTuple):
    order: str  # "" for ascii
    elements: list[_Element]
    lines: int
    body: int  # offset of the first byte behind the header


def read_ply(path: Path, data: bytes) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices and triangles of a PLY file; polygons become fans."""
    header = _read_header(path, data)
    if "vertex" not in [element.name for element in header.elements]:
        raise UserError(f"{path}: the PLY header names no element 'vertex'")
    if header.order:
        vertices, polygons = _read_binary(path, data, header)
    else:
        vertices, polygons = _read_ascii(path, data, header)
    triangles = _fans(polygons)
    for index, polygon in enumerate(polygons):
        if len(polygon) < 3:
            raise UserError(f"{path}: face {index} has {len(polygon)} corners, expected 3 or more")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        wrong = (triangles < 0) | (triangles >= len(vertices))
        raise UserError(
            f"{path}: a face names vertex {triangles[wrong][0]}, the file has {len(vertices)}"
        )
    rows = np.flatnonzero(~(np.abs(vertices) < MAX_COORDINATE).all(axis=1))
    if len(rows):
        raise UserError(
            f"{path}: vertex {rows[0]} is not finite and below {MAX_COORDINATE:g}: "
            f"{vertices[rows[0]].tolist()}"
        )
    return vertices, triangles


def _read_header(path: Path, data: bytes) -> _Header:
    end = data.find(b"end_header", 0, 65536)
    if not data.startswith(b"ply") or end < 0:
        raise UserError(f"{path} line 1: expected a PLY header ('ply' to 'end_header')")
    body = end + len(b"end_header")
    body += 2 if data[body : body + 2] == b"\r\n" else 1
    order, elements = None, []
    lines = split_lines(data[:body].rstrip(b"\r\n"))
    for number, line in enumerate(lines, start=1):
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = BYTE_ORDERS[words[1]]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2]), []))
                if elements[-1].count < 0:
                    raise ValueError(line)
            elif words[:2] == ["property", "list"]:
                entry = _Property(words[4], SCALARS[words[3]], SCALARS[words[2]])
                if entry.length is None or entry.length.startswith("f"):
                    raise ValueError(line)
                elements[-1].properties.append(entry)
            elif words[:1] == ["property"]:
                elements[-1].properties.append(_Property(words[2], SCALARS[words[1]], None))
        except (KeyError, IndexError, ValueError):
            raise UserError(
                f"{path} line {number}: not understood in a PLY header: {line!r}"
            ) from None
    if order is None:
        raise UserError(f"{path}: the PLY header has no 'format' line")
    for element in elements:
        names = [entry.name for entry in element.properties]
        if len(set(names)) != len(names):
            raise UserError(f"{path}: element '{element.name}' names a property twice")
        if element.name == "vertex" and not {"x", "y", "z"} <= {
            entry.name for entry in element.properties if entry.length is None
        }:
            raise UserError(f"{path}: element 'vertex' needs the properties x, y and z")
    return _Header(order, elements, len(lines), body)


def _corner_list(element: _Element) -> str | None:
    """Name of the property that lists a face's corners."""
    if element.name != "face":
        return None
    for entry in element.properties:
        if entry.length is not None and entry.name in ("vertex_indices", "vertex_index"):
            if entry.kind.startswith("f"):
                return None
            return entry.name
    return None


def _fans(polygons: Int[np.ndarray, "F 3"] | list[list[int]]) -> Int[np.ndarray, "T 3"]:
    if isinstance(polygons, np.ndarray):
        return polygons
    fans = [(p[0], b, c) for p in polygons for b, c in zip(p[1:], p[2:], strict=False)]
    return np.array(fans, np.int64).reshape(-1, 3)


def _read_ascii(
    path: Path, data: bytes, header: _Header
) -> tuple[Float[np.ndarray, "V 3"], list[list[int]]]:
    lines = split_lines(data[header.body :].rstrip(b"\r\n"))
    vertices: list[list[float]] = []
    polygons: list[list[int]] = []
    at = 0
    for element in header.elements:
        corners = _corner_list(element)
        for _ in range(element.count):
            number = header.lines + at + 1
            if at >= len(lines):
                raise UserError(
                    f"{path} line {number}: the file ends before its last {element.name}"
                )
            words, at = lines[at].split(), at + 1
            row: dict[str, list[str]] = {}
            for entry in element.properties:
                length = 1
                if entry.length is not None:
                    length = int(parse_floats(words[:1], 1, path, number)[0])
                    words = words[1:]
                if not 0 <= length <= len(words):
                    raise UserError(f"{path} line {number}: too few numbers for a {element.name}")
                row[entry.name], words = words[:length], words[length:]
            if element.name == "vertex":
                values = [word for axis in "xyz" for word in row[axis]]
                vertices.append(parse_floats(values, 3, path, number))
            elif corners is not None:
                indices = parse_floats(row[corners], len(row[corners]), path, number)
                polygons.append([int(index) for index in indices])
    return np.array(vertices, np.float64).reshape(-1, 3), polygons


def _read_binary(
    path: Path, data: bytes, header: _Header
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"] | list[list[int]]]:
    vertices = np.zeros((0, 3))
    polygons: Int[np.ndarray, "F 3"] | list[list[int]] = np.zeros((0, 3), np.int64)
    at = header.body
    for element in header.elements:
        if not element.properties:
            continue
        # Most files hold triangles only: every row is equally long, one view reads them all.
        fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
        for entry in element.properties:
            if entry.length is None:
                fields.append((entry.name, header.order + entry.kind))
            else:
                fields.append((f"length of {entry.name}", header.order + entry.length))
                fields.append((entry.name, header.order + entry.kind, (3,)))
        dtype = np.dtype(fields)
        lists = [entry for entry in element.properties if entry.length is not None]
        rows = None
        if at + element.count * dtype.itemsize <= len(data):
            rows = np.frombuffer(data, dtype, element.count, at)
            if any((rows[f"length of {entry.name}"] != 3).any() for entry in lists):
                rows = None
        corners = _corner_list(element)
        if rows is not None:
            at += element.count * dtype.itemsize
            if element.name == "vertex":
                vertices = np.stack([rows[axis] for axis in "xyz"], axis=1).astype(np.float64)
            elif corners is not None:
                polygons = rows[corners].astype(np.int64)
        elif not lists:
            raise UserError(f"{path}: the file ends before its last {element.name}")
        else:
            at, found = _walk(path, data, at, header.order, element)
            if element.name == "vertex":
                raise UserError(f"{path}: element 'vertex' holds lists, expected numbers only")
            if corners is not None:
                polygons = found
    return vertices, polygons


def _walk(
    path: Path, data: bytes, at: int, order: str, element: _Element
) -> tuple[int, list[list[int]]]:
    """Read an element whose rows differ in length; (offset behind it, the lists of corners)."""
    corners, polygons = _corner_list(element), []
    try:
        for _ in range(element.count):
            for entry in element.properties:
                length = 1
                if entry.length is not None:
                    (length,) = struct.unpack_from(order + STRUCT_CODES[entry.length], data, at)
                    at += int(entry.length[1])
                if not 0 <= length <= len(data):
                    raise UserError(f"{path}: a {element.name} lists {length} values")
                values = struct.unpack_from(f"{order}{length}{STRUCT_CODES[entry.kind]}", data, at)
                at += length * int(entry.kind[1])
                if entry.name == corners:
                    polygons.append([int(value) for value in values])
    except struct.error:
        raise UserError(f"{path}: the file ends before its last {element.name}") from None
    return at, polygons
