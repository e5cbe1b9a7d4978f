"""Parts that a photo shows badly or not at all: eyeballs, teeth, tongue and the mouth's inside.

They keep the head's own paint, in the photo's light; irises take the photo's colour, whites of the
eyes and teeth that it shows come near to it.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32

from flame_assets.model.head import HeadModel
from mica_ext.render.sampling import smoothstep
from mica_ext.render.shading import LUMA, to_linear

PARTS = ("eyeball", "teeth", "tongue", "mouth_inside")
"""Regions whose name contains one of these are painted."""
_IRIS_LUMA, _WHITE_LUMA = (0.006, 0.30), 0.45
"""Linear luminance of the painted iris, and least one of the white."""
_ENAMEL_LUMA = 0.55
"""Least one of painted enamel; gums are darker."""
_MIN_TEXELS = 40
"""Of irises, whites or teeth that must be seen for their colour to be taken."""
_EXPOSURE_LIMITS = (0.12, 1.4)
_WHITE_SHARE, _TEETH_SHARE = 0.85, 0.7
"""How far the whites of the eyes and teeth follow the photo: exponents of the ratio."""
_RATIO_LIMITS = (0.1, 10.0)
"""Of the photo's over the painted iris or white, by channel: a blue iris has 6 times the blue of a
brown one."""
_CHROMA = (0.04, 0.15)
"""Of a photo's skin, (largest - smallest channel) / largest: without colour, and with all of it."""


def painted_vertices(head: HeadModel) -> Bool[np.ndarray, " V"]:
    """Vertices of painted parts; none on heads without colours."""
    mask = np.zeros(head.vertices_count, bool)
    if head.colours is not None:
        for name, ids in head.regions.items():
            if any(part in name for part in PARTS):
                mask[ids] = True
        mask[head.regions.get("lips", [])] = False
        mask[head.regions.get("skin", [])] = False
    return mask


def paint(
    head: HeadModel,
    exposure: float,
    saturation: float,
    seen_colours: Float[np.ndarray, "V 3"],
    seen_weights: Float[np.ndarray, " V"],
) -> Float32[np.ndarray, "V 3"]:
    """Linear RGB of the head's own paint under the photo's light.

    Args:
        head: with colours.
        exposure: luminance of the photo's skin over that of the painted skin.
        saturation: share of the paint's colour that stays, 0 to 1 (`saturation_of`).
        seen_colours: linear RGB that the photo shows at each vertex, on average.
        seen_weights: number of texels that it was seen on.
    """
    assert head.colours is not None
    own = to_linear(head.colours) * np.float32(np.clip(exposure, *_EXPOSURE_LIMITS))
    grey = own @ LUMA[:, None]
    own = (grey + np.float32(saturation) * (own - grey)).astype(np.float32)
    luma = to_linear(head.colours) @ LUMA
    eyes, teeth = (regions_named(head, part) for part in ("eyeball", "teeth"))
    iris = eyes & (luma > _IRIS_LUMA[0]) & (luma < _IRIS_LUMA[1])
    white = eyes & (luma > _WHITE_LUMA)
    enamel = teeth & (luma > _ENAMEL_LUMA)
    # a lid or a lash over the iris, its white, or lips over teeth, must not pass for their colour
    followers = ((iris, 1.0, True), (white, _WHITE_SHARE, False), (enamel, _TEETH_SHARE, False))
    for mask, share, darker in followers:
        weights = seen_weights * mask
        if weights.sum() >= _MIN_TEXELS:
            photo = _half_mean(seen_colours, weights, darker=darker)
            ratio = photo / np.maximum(np.average(own, axis=0, weights=weights), 1e-4)
            own[mask] *= np.clip(ratio, *_RATIO_LIMITS) ** share
    return own.astype(np.float32)


def regions_named(head: HeadModel, part: str) -> Bool[np.ndarray, " V"]:
    """Vertices of the regions whose name contains `part`."""
    mask = np.zeros(head.vertices_count, bool)
    for name, ids in head.regions.items():
        mask[ids] |= part in name
    return mask


def saturation_of(skin: Float[np.ndarray, "3"]) -> float:
    """How much of the paint's colour suits a photo whose skin has this mean linear RGB: 0 if it is
    a black and white one, 1 if it is a colour photo."""
    chroma = (skin.max() - skin.min()) / max(float(skin.max()), 1e-6)
    return float(smoothstep(np.array([chroma]), *_CHROMA)[0])


def _half_mean(
    colours: Float[np.ndarray, "V 3"], weights: Float[np.ndarray, " V"], *, darker: bool
) -> Float[np.ndarray, "3"]:
    """Mean colour of the darker or brighter half of all that has a weight."""
    rows = np.flatnonzero(weights)
    rows = rows[np.argsort(colours[rows] @ LUMA)]
    rows = rows if darker else rows[::-1]
    half = rows[np.cumsum(weights[rows]) <= max(0.5 * weights.sum(), weights[rows[0]])]
    return np.average(colours[half], axis=0, weights=weights[half])
