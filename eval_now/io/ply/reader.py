"""Reader of PLY files."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh, triangulate_fans
from eval_now.io.budgets import MAX_COORDINATE
from eval_now.io.ply.body import Body, read_polygons, read_vertices
from eval_now.io.ply.header import parse_header
from eval_now.io.ply.numbers import parse_numbers


def read_ply(path: Path, data: bytes) -> Mesh:
    """Parse the vertices and faces of a PLY file; polygons become triangle fans.

    Args:
        path: for error messages.
        data: content of the file.

    Raises:
        UserError: malformed, too large, or a face refers to a missing vertex.
    """
    header = parse_header(path, data)
    if header.order:
        body, at = Body(path, np.frombuffer(data, np.uint8), header.order, ""), header.body
    else:
        numbers = parse_numbers(data, header.body)
        body, at = Body(path, numbers.values, "", numbers.fault), 0
    vertices, triangles = np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    for element in header.elements:
        if element.name == "vertex":
            at, vertices = read_vertices(body, at, element)
        else:
            at, polygons = read_polygons(body, at, element)
            if element.corners is not None:
                triangles = triangulate_fans(_indices(path, polygons.corners), polygons.sizes)
    mesh = Mesh(vertices, triangles)
    _check(path, mesh)
    return mesh


def _indices(path: Path, corners: np.ndarray) -> Int[np.ndarray, " N"]:
    """The corners as whole numbers."""
    if corners.dtype.kind == "f":
        fractional = np.flatnonzero(~(np.abs(corners) < 2**53) | (corners != np.rint(corners)))
        if len(fractional):
            raise UserError(f"{path}: a face names vertex {corners[fractional[0]]:g}")
    return corners.astype(np.int64)


def _check(path: Path, mesh: Mesh) -> None:
    """Refuse triangles of missing vertices and coordinates that are not finite or too large."""
    vertices, triangles = mesh
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        wrong = triangles[(triangles < 0) | (triangles >= len(vertices))][0]
        raise UserError(f"{path}: a face names vertex {wrong}, the file has {len(vertices)}")
    rows = np.flatnonzero(~(np.abs(vertices) < MAX_COORDINATE).all(axis=1))
    if len(rows):
        raise UserError(
            f"{path}: vertex {rows[0]} is not finite and below {MAX_COORDINATE:g}: "
            f"{vertices[rows[0]].tolist()}"
        )
