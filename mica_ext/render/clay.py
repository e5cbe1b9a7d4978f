"""Clay: the head in one matt material under soft light, eyes, lips and creases readable."""

import numpy as np
from jaxtyping import Float, Float32, Int32

from eval_now.geometry.normals import vertex_normals
from flame_assets.model.head import HeadModel
from mica_ext.render.shading import Lighting

CLAY_COLOUR = (0.82, 0.815, 0.81)
"""SRGB of the material."""
SOFT_LIGHT = Lighting(
    directions=((-0.45, 0.65, 0.70), (0.85, 0.10, 0.50), (0.0, 0.45, -0.85)),
    intensities=((0.72, 0.715, 0.705), (0.15, 0.155, 0.17), (0.24, 0.24, 0.25)),
    sky=(0.20, 0.205, 0.215),
    ground=(0.085, 0.08, 0.08),
    wrap=(0.22, 0.22, 0.22),
    specular=0.02,
)
"""A large key light from the upper left, a faint fill from the right, a rim light from behind."""

EYE_DETAIL = 0.55
"""How much of the painted darkness of iris and pupil the clay keeps."""
LIP_SHADE = 0.86
MOUTH_SHADE = 0.42
TEETH_TINT, EYE_TINT = 1.10, 1.08
"""Factors on the clay of lips, the mouth's inside, teeth and eyeballs."""
CAVITY_GAIN, CAVITY_LIMITS = 1.6, (0.62, 1.06)
"""Darkening per unit of concavity, and the least and the largest factor."""
CAVITY_SMOOTHING = 2
"""Neighbourhood averages of the concavity."""


def clay_colours(head: HeadModel, vertices: Float[np.ndarray, "V 3"]) -> Float32[np.ndarray, "V 3"]:
    """SRGB of the clay per vertex: creases darker, lips, teeth and eyes set off where marked."""
    colours = np.tile(np.array(CLAY_COLOUR, np.float32), (len(vertices), 1))
    colours *= cavity_factors(vertices, head.triangles)[:, None]
    for name, ids in head.regions.items():
        if "eyeball" in name:
            colours[ids] = np.array(CLAY_COLOUR, np.float32) * EYE_TINT * _eye_detail(head, ids)
        elif "teeth" in name:
            colours[ids] *= TEETH_TINT
        elif "tongue" in name:
            colours[ids] *= LIP_SHADE
    if "mouth_inside" in head.regions:
        colours[head.regions["mouth_inside"]] *= MOUTH_SHADE
    if "lips" in head.regions:
        colours *= _lip_factors(head)[:, None]
    return np.clip(colours, 0.0, 1.0)


def cavity_factors(
    vertices: Float[np.ndarray, "V 3"], triangles: Int32[np.ndarray, "F 3"]
) -> Float32[np.ndarray, " V"]:
    """Brightness per vertex, below 1 in creases: a measure of mean curvature.

    Concavity is the height of the neighbours' centroid above a vertex, along its normal, over their
    mean distance; it does not depend on the scale of the mesh.
    """
    normals = vertex_normals(vertices, triangles)
    offset = neighbour_means(vertices, triangles) - vertices
    height = np.einsum("vi,vi->v", offset, normals)
    edges = vertices[triangles] - vertices[np.roll(triangles, 1, axis=1)]
    lengths = np.linalg.norm(edges, axis=2).mean(axis=1)
    size = np.bincount(triangles.ravel(), np.repeat(lengths, 3), len(vertices))
    size /= np.bincount(triangles.ravel(), minlength=len(vertices)).clip(min=1)
    concavity = height / np.maximum(size, 1e-9)
    for _ in range(CAVITY_SMOOTHING):
        concavity = neighbour_means(concavity[:, None], triangles)[:, 0]
    return np.clip(1.0 - CAVITY_GAIN * concavity, *CAVITY_LIMITS).astype(np.float32)


def neighbour_means(
    values: Float[np.ndarray, "V C"], triangles: Int32[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V C"]:
    """Mean of `values` over the triangles around each vertex, its own value included."""
    count = len(values)
    degree = np.bincount(triangles.ravel(), minlength=count)
    means = np.repeat(values[triangles].mean(axis=1), 3, axis=0)
    sums = [np.bincount(triangles.ravel(), channel, count) for channel in means.T]
    result = np.stack(sums, axis=1) / np.maximum(degree, 1)[:, None]
    return np.where((degree > 0)[:, None], result, values)


def _eye_detail(head: HeadModel, ids: Int32[np.ndarray, " n"]) -> Float32[np.ndarray, "n 1"]:
    """Brightness of the painted eye over that of its white, partly."""
    if head.colours is None:
        return np.ones((len(ids), 1), np.float32)
    luma = head.colours[ids].mean(axis=1, keepdims=True)
    relative = luma / max(float(luma.max()), 1e-6)
    return (1.0 - EYE_DETAIL * (1.0 - relative)).astype(np.float32)


def _lip_factors(head: HeadModel) -> Float32[np.ndarray, " V"]:
    mask = np.zeros((head.vertices_count, 1))
    mask[head.regions["lips"]] = 1.0
    soft = 0.5 * (mask + neighbour_means(mask, head.triangles))[:, 0]
    return (1.0 - (1.0 - LIP_SHADE) * soft).astype(np.float32)
