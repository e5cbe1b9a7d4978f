"""The header of a PLY file."""

from pathlib import Path
from typing import NamedTuple

from eval_now.errors import UserError
from eval_now.io.budgets import (
    MAX_PLY_HEADER_BYTES,
    MAX_PLY_LISTS,
    MAX_PLY_PROPERTIES,
    MAX_TRIANGLES,
    MAX_VERTICES,
)

SCALAR_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


class Property(NamedTuple):
    """One property; `length` is the type of a list's length, or None for a single value."""

    name: str
    type: str
    length: str | None


class Element(NamedTuple):
    """One element, its number of rows and its properties."""

    name: str
    count: int
    properties: list[Property]

    @property
    def lists(self) -> list[Property]:
        """The properties that are lists."""
        return [entry for entry in self.properties if entry.length is not None]

    @property
    def corners(self) -> Property | None:
        """The list of vertex indices of a face; None for other elements."""
        for entry in self.lists if self.name == "face" else []:
            if entry.name in ("vertex_indices", "vertex_index") and entry.type[0] != "f":
                return entry
        return None


class Header(NamedTuple):
    """Byte order ("<", ">" or "" for ascii), elements to read, and offset of the body.

    The elements end with the last one of `vertex` and `face`.
    """

    order: str
    elements: list[Element]
    body: int


def parse_header(path: Path, data: bytes) -> Header:
    """Parse the header up to the end of the line `end_header`.

    Raises:
        UserError: names the line that is not understood.
    """
    lines, body = _header_lines(path, data)
    order: str | None = None
    elements: list[Element] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = BYTE_ORDERS[words[1]]
            elif words[:1] == ["element"]:
                if not (words[2].isascii() and words[2].isdecimal() and len(words[2]) <= 12):
                    raise ValueError(words[2])
                elements.append(Element(words[1], int(words[2]), []))
            elif words[:2] == ["property", "list"]:
                entry = Property(words[4], SCALAR_TYPES[words[3]], SCALAR_TYPES[words[2]])
                if entry.length is None or entry.length[0] == "f":
                    raise ValueError(entry.length)
                elements[-1].properties.append(entry)
            elif words[:1] == ["property"]:
                elements[-1].properties.append(Property(words[2], SCALAR_TYPES[words[1]], None))
        except (KeyError, IndexError, ValueError):
            raise UserError(
                f"{path} line {number}: not understood in a PLY header: {line[:80]!r}"
            ) from None
    if order is None:
        raise UserError(f"{path}: the PLY header has no 'format' line")
    _check_elements(path, elements)
    last = max(i for i, element in enumerate(elements) if element.name in ("vertex", "face"))
    return Header(order, elements[: last + 1], body)


def _header_lines(path: Path, data: bytes) -> tuple[list[str], int]:
    """The lines of the header without `end_header`, and the offset of the body."""
    head = data[:MAX_PLY_HEADER_BYTES]
    newline, carriage_return = head.find(b"\n"), head.find(b"\r")
    old_mac = carriage_return >= 0 and not 0 <= newline <= carriage_return + 1
    separator = b"\r" if old_mac else b"\n"
    lines: list[str] = []
    begin = 0
    while begin < len(head):
        end = head.find(separator, begin)
        end = len(head) if end < 0 else end
        line = head[begin:end].strip()
        if not lines and line != b"ply":
            break
        if line == b"end_header":
            return lines, end + 1
        lines.append(line.decode("latin-1"))
        begin = end + 1
    raise UserError(f"{path} line 1: expected a PLY header ('ply' to 'end_header')")


def _check_elements(path: Path, elements: list[Element]) -> None:
    """Refuse ambiguous names, vertices without coordinates and sizes beyond the limits."""
    names = [element.name for element in elements]
    if "vertex" not in names:
        raise UserError(f"{path}: the PLY header names no element 'vertex'")
    if names.count("vertex") > 1 or names.count("face") > 1:
        raise UserError(f"{path}: the PLY header names an element twice")
    if sum(len(element.properties) for element in elements) > MAX_PLY_PROPERTIES:
        raise UserError(f"{path}: expected at most {MAX_PLY_PROPERTIES} properties")
    for element in elements:
        properties = [entry.name for entry in element.properties]
        if len(set(properties)) != len(properties):
            raise UserError(f"{path}: element '{element.name}' names a property twice")
        limit = {"vertex": MAX_VERTICES, "face": MAX_TRIANGLES}.get(element.name, element.count)
        if element.count > limit:
            raise UserError(f"{path}: expected at most {limit} of '{element.name}'")
        if element.name == "vertex" and element.lists:
            raise UserError(f"{path}: element 'vertex' holds lists, expected numbers only")
        if element.name == "vertex" and not {"x", "y", "z"} <= set(properties):
            raise UserError(f"{path}: element 'vertex' needs the properties x, y and z")
    if sum(element.count * len(element.lists) for element in elements) > MAX_PLY_LISTS:
        raise UserError(f"{path}: expected at most {MAX_PLY_LISTS} lists")
