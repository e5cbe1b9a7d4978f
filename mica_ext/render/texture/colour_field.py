"""Smooth colours of a face, also where its photo shows nothing."""

import numpy as np
from jaxtyping import Bool, Float, Float32

from flame_assets.model.head import HeadModel
from mica_ext.render.texture.atlas import Atlas
from mica_ext.render.texture.face_areas import FaceAreas
from mica_ext.render.texture.fill import fill_smoothly

DATA_WEIGHT = 12.0
"""Pull of a colour that is fully seen, in units of one edge; see `fill_smoothly`."""
PLAIN_SKIN = (0.75, 0.58, 0.50)
"""SRGB where neither photo nor head tell a colour."""
_MIRROR_CONFIDENCE, _PRIOR_WEIGHT = 0.15, 0.02
_BEARD_WEIGHT, _BEARD_REACH = 0.5, 0.002
"""Pull of a beard's colour where it grows unseen, and of no beard far from a seen one."""


def colour_field(
    colours: Float32[np.ndarray, "N 3"],
    weights: Float32[np.ndarray, " N"],
    beard: Float32[np.ndarray, " N"],
    head: HeadModel,
    atlas: Atlas,
    areas: FaceAreas,
    painted: Bool[np.ndarray, " V"],
) -> Float32[np.ndarray, "V 3"]:
    """Smooth sRGB per vertex: the photo's, the mirror side's, and between them harmonic.

    A beard goes on to the ends of where beards grow.

    Args:
        colours: sRGB of the photo.
        weights: of skin and beard in it.
        beard: how far a beard hides the skin, 0 to 1.
        head: gives the triangles.
        atlas: of the texels.
        areas: per vertex.
        painted: vertices that are no skin.
    """
    total = np.maximum(atlas.gather(head, np.ones((len(weights), 1)))[:, 0], 1e-6)
    rows = weights > 0
    own = np.c_[weights[rows, None], weights[rows, None] * colours[rows]]
    own = atlas.select(rows).gather(head, own)
    across = atlas.mirrored(np.c_[weights[:, None], weights[:, None] * colours])
    across = atlas.gather(head, across)
    confidence, other = own[:, 0] / total, across[:, 0] / total
    other = _MIRROR_CONFIDENCE * other * (1 - confidence)
    both = (own + _MIRROR_CONFIDENCE * (1 - confidence)[:, None] * across) / total[:, None]
    known = both[:, 1:] / np.maximum(both[:, :1], 1e-6)
    mean = _skin_colour(known, both[:, 0] * areas.cheeks, head)
    prior, prior_weight = np.broadcast_to(mean, known.shape), np.full(len(known), _PRIOR_WEIGHT)
    if beard.any():
        hair = np.average(colours, axis=0, weights=weights * beard + 1e-9)
        seen = atlas.gather(head, (weights * beard)[:, None])[:, 0]
        density = fill_smoothly(
            head.triangles,
            (seen / np.maximum(own[:, 0], 1e-6))[:, None],
            confidence,
            np.zeros((len(known), 1)),
            data_weight=DATA_WEIGHT,
            prior_weight=_BEARD_REACH,
        )
        grown = density * areas.beard[:, None]
        prior = mean + grown * (hair - mean)
        prior_weight += _BEARD_WEIGHT * grown[:, 0]
    return fill_smoothly(
        head.triangles,
        known,
        np.where(painted, 0.0, confidence + other),
        prior,
        data_weight=DATA_WEIGHT,
        prior_weight=prior_weight,
    ).astype(np.float32)


def _skin_colour(
    colours: Float[np.ndarray, "V 3"], weights: Float[np.ndarray, " V"], head: HeadModel
) -> Float[np.ndarray, "3"]:
    """Mean sRGB of the cheeks; where they are hidden, of the head's paint."""
    if weights.sum() > 1:
        return np.average(colours, axis=0, weights=weights)
    if head.colours is None:
        return np.array(PLAIN_SKIN)
    return head.colours[head.regions.get("face", slice(None))].mean(axis=0)
