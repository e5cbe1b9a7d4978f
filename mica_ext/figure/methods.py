"""The heads of one photo, method by method, all in the frame of the first."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from eval_now.errors import UserError as BenchmarkError
from eval_now.geometry.mesh import Mesh
from eval_now.geometry.similarity import Similarity, fit_similarity
from eval_now.io.landmarks import load_landmarks
from eval_now.io.meshes import MESH_SUFFIXES, load_mesh
from mica_ext.errors import UserError
from mica_ext.render.clay import CLAY_COLOUR, cavity_factors

LANDMARK_SUFFIXES = (".npy", ".txt")
Landmarks = Float[np.ndarray, "7 3"]


class FigureMesh(NamedTuple):
    """A head of one method, in the frame of the row's first head."""

    vertices: Float[np.ndarray, "V 3"]
    """[m]."""
    triangles: Int[np.ndarray, "F 3"]
    landmarks: Landmarks
    """In NoW's order [m]."""
    colours: Float32[np.ndarray, "V 3"]
    """SRGB of the clay."""


class FigureRow(NamedTuple):
    """One photo with its heads."""

    name: str
    photo: UInt8[np.ndarray, "H W 3"]
    """The part around the face."""
    heads: tuple[FigureMesh | None, ...]
    """Of the methods, in the columns' order; None where a method has none."""
    truth: FigureMesh | None
    """In its own frame, in metres."""


def plain_clay(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Float32[np.ndarray, "V 3"]:
    """SRGB of clay for a mesh of which no parts are known: creases are darker."""
    factors = cavity_factors(np.asarray(vertices, np.float64), triangles.astype(np.int32))
    return (np.array(CLAY_COLOUR, np.float32) * factors[:, None]).clip(0, 1).astype(np.float32)


def read_mesh(folder: Path, stem: str, reference: FigureMesh, scale: float) -> FigureMesh | None:
    """The mesh of a photo in a folder of a method's meshes, or of true ones; None without one.

    Args:
        folder: holds `stem`.obj or .ply, and `stem`.npy or .txt with seven landmarks.
        stem: of the photo.
        reference: whose landmarks a mesh of the same number of vertices has, too.
        scale: metres per unit of the files.

    Raises:
        UserError: a file cannot be read, or there are no landmarks.
    """
    path = _existing(folder, stem, MESH_SUFFIXES)
    if path is None:
        return None
    try:
        mesh = load_mesh(path)
        marks = _existing(folder, stem, LANDMARK_SUFFIXES)
        landmarks = None if marks is None else np.asarray(load_landmarks(marks), np.float64)
    except BenchmarkError as error:
        raise UserError(str(error)) from error
    vertices = mesh.vertices * scale
    if landmarks is not None:
        landmarks = landmarks * scale
    elif len(vertices) == len(reference.vertices):
        to_mesh = fit_similarity(reference.vertices, vertices)
        landmarks = to_mesh.apply(reference.landmarks)
    else:
        raise UserError(
            f"{path}: expected {len(reference.vertices)} vertices as the first pack's head has, or "
            f"seven landmarks beside ({stem}.npy or .txt), got {len(vertices)} vertices"
        )
    colours = plain_clay(vertices, mesh.triangles)
    return FigureMesh(vertices, mesh.triangles, landmarks, colours)


def in_frame_of(head: FigureMesh, reference: FigureMesh, *, keep_scale: bool) -> FigureMesh:
    """The head moved onto the reference by its landmarks; scaled, too, unless `keep_scale`."""
    if head is reference:
        return head
    fit = fit_similarity(head.landmarks, reference.landmarks)
    if keep_scale:
        shift = reference.landmarks.mean(0) - fit.rotation @ head.landmarks.mean(0)
        fit = Similarity(1.0, fit.rotation, shift)
    return head._replace(vertices=fit.apply(head.vertices), landmarks=fit.apply(head.landmarks))


def as_mesh(head: FigureMesh) -> Mesh:
    """The head's surface."""
    return Mesh(head.vertices, head.triangles)


def _existing(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    for suffix in suffixes:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None
