"""Which texels show the face: skin, brows, eyes, lips and beard, no hair, clothes or background.

Between jaw line and brows everything is the face's own unless something hangs over it
(`segmentation`); beyond, what has the face's colours. Beards are what is no skin below the nose, as
far as their colour goes.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from mica_ext.render.sampling import smoothstep
from mica_ext.render.shading import LUMA
from mica_ext.render.texture.atlas import Atlas
from mica_ext.render.texture.face_areas import FaceAreas
from mica_ext.render.texture.lighting import EVEN_LIGHT, PhotoLight, fit_shading
from mica_ext.render.texture.painted import saturation_of
from mica_ext.render.texture.photo_samples import PhotoSamples
from mica_ext.render.texture.segmentation import Segmentation
from mica_ext.render.texture.skin import SkinModel, fit_skin

MIN_SKIN_TEXELS = 500
"""Of surely visible skin; without them no colour model is made."""
_TRUSTED = (0.5, 0.95)
"""Weights from which colours of the inner face count although they do not look like skin: on the
far side of a turned head they may as well be hair behind it."""
_SKIN_BLUR = 0.012
"""Window in which a texel's neighbours must show skin, too, as a share of the atlas."""
_ROUGHNESS_WINDOW = 0.011
"""As a share of the atlas."""
_SURE_RATIO, _SKIN_RATIO = (0.1, 1.2), (-0.4, 0.8)
"""Log likelihood ratios of face over surroundings below which something beyond jaw line and brows
is left out, and from which it counts fully: in any colour, and in that of the cheeks."""
_BROW_COVERED = 0.5
"""Share of the skin above a brow that hair hides, from which the brow is hidden, too."""
_BROW_SHOWN = 0.6
"""Mean weight of a brow whose mirror image may stand for the other one."""
_HAIR_DARKNESS = (0.2, 0.6)
"""Drop of log luminance from skin to hair."""
_BEARD_SHARE = (0.12, 0.2)
"""Share of the beard's area that shows hair, a geometric mean of the parts above the mouth and
around it: without a beard, with one."""
_BEARD_SHADE = 1.2
"""Drop of log luminance inside a beard, towards the neck."""
_SIDE_SHOWN = 0.2
"""Share of an area from which one half of it has a say."""


class FaceMask(NamedTuple):
    """Of the N covered texels."""

    face: Float32[np.ndarray, " N"]
    """Weight of what belongs to the face, 0 to 1."""
    surface: Float32[np.ndarray, " N"]
    """Weight of skin and beard alone: what may go on where nothing is seen."""
    beard: Float32[np.ndarray, " N"]
    """How far a beard hides the skin, 0 to 1; part of `surface`."""
    light: PhotoLight


def mask_face(
    samples: PhotoSamples,
    areas: FaceAreas,
    atlas: Atlas,
    on_skin: Bool[np.ndarray, " N"],
    segmentation: Segmentation,
) -> FaceMask:
    """Tell the face from what covers and surrounds it.

    Args:
        samples: the photo at the texels.
        areas: at the texels.
        atlas: of the texels.
        on_skin: texels of the head's skin.
        segmentation: of the photo.
    """
    weights = (samples.weights * on_skin).astype(np.float32)
    sure = weights * areas.cheeks
    if (sure > 0.3).sum() < MIN_SKIN_TEXELS:
        face = weights * areas.face
        return FaceMask(face, face, np.zeros_like(face), EVEN_LIGHT)
    light, model, probability = _skin_probability(samples, weights, sure)
    shading = light.on(samples.normals)
    in_shadow = probability
    if saturation_of(np.average(samples.colours, axis=0, weights=sure)) > 0.5:
        seen = (samples.colours, shading, _roughness(samples.colours @ LUMA, atlas))
        probability = np.maximum(probability, model.shaded(*seen))
        in_shadow = np.maximum(probability, model.shaded(*seen, tolerance=3.0) * areas.face)
    ratio, cover, beside = segmentation.at(samples.pixels)
    drop = -model.luminance_offset(samples.colours, shading)
    dark = ((1 - probability) * smoothstep(drop, *_HAIR_DARKNESS)).astype(np.float32)
    beard = _beard(samples, shading, probability, dark, weights, areas, atlas)
    hair = _with_covered_brows(cover, weights, areas) * (1 - beard)
    trusted = areas.face * smoothstep(weights, *_TRUSTED)
    plain = smoothstep(_window_mean(in_shadow, weights, atlas), 0.3, 0.9)
    skin = np.maximum(smoothstep(ratio, *_SURE_RATIO), plain * smoothstep(ratio, *_SKIN_RATIO))
    face = np.maximum(np.maximum(trusted, skin), beard)
    face *= weights * (1 - hair)
    brows = np.maximum(areas.right_brow, areas.left_brow)
    surface = face * (1 - np.maximum(areas.eyes, brows))
    surface *= 1 - np.maximum(beside, areas.neck) * (1 - np.maximum(plain, beard))
    return FaceMask(
        face.astype(np.float32),
        surface.astype(np.float32),
        (beard * dark).astype(np.float32),
        light,
    )


def _skin_probability(
    samples: PhotoSamples,
    weights: Float32[np.ndarray, " N"],
    sure: Float32[np.ndarray, " N"],
) -> tuple[PhotoLight, SkinModel, Float32[np.ndarray, " N"]]:
    """The light, the skin's colours, and how far each texel is one."""
    luminance = samples.colours @ LUMA
    mean = float(np.average(luminance, weights=sure))
    chosen = sure > 0.05
    light, probability = EVEN_LIGHT, weights
    shading = light.on(samples.normals)
    model = fit_skin(samples.colours[chosen], shading[chosen], sure[chosen])
    for fitted in (sure, weights):  # first from the cheeks, then from all skin
        rows = np.flatnonzero(chosen)[:: max(int(chosen.sum()) // 20000, 1)]
        coefficients = fit_shading(samples.normals[rows], luminance[rows], fitted[rows])
        light = PhotoLight(coefficients, mean)
        shading = light.on(samples.normals)
        known = np.flatnonzero(sure > 0.3)
        known = known[:: max(len(known) // 20000, 1)]
        model = fit_skin(samples.colours[known], shading[known], sure[known])
        probability = model.probability(samples.colours, shading)
        chosen = (weights > 0.3) & (probability > 0.5)
    return light, model, probability


def _roughness(luminance: Float32[np.ndarray, " N"], atlas: Atlas) -> Float32[np.ndarray, " N"]:
    """Standard deviation of log luminance in a window about each texel."""
    side = max(3, round(_ROUGHNESS_WINDOW * atlas.size)) | 1
    log = np.log(np.maximum(luminance, 1e-3))
    values = atlas.filled(np.stack([log, log**2], axis=1))
    means = cv2.blur(values, (side, side)).reshape(-1, 2)[atlas.index]
    return np.sqrt(np.maximum(means[:, 1] - means[:, 0] ** 2, 0)).astype(np.float32)


def _with_covered_brows(
    cover: Float32[np.ndarray, " N"], weights: Float32[np.ndarray, " N"], areas: FaceAreas
) -> Float32[np.ndarray, " N"]:
    """Weights of what is hidden: covers, but not on brows and eyes, except on one brow whose
    surroundings are covered while the other one is seen."""
    kept = {"right": areas.right_brow, "left": areas.left_brow}
    covered = {
        "right": _mean(cover, areas.above_right_brow),
        "left": _mean(cover, areas.above_left_brow),
    }
    hidden = cover
    for side, other in (("right", "left"), ("left", "right")):
        shown = covered[other] < _BROW_COVERED and _mean(weights, kept[other]) > _BROW_SHOWN
        if covered[side] > _BROW_COVERED and shown:  # the other one's mirror image is better
            hidden = np.maximum(cover, kept.pop(side) * (areas.eyes < 0.5))
            break
    return hidden * (1 - np.clip(areas.eyes + sum(kept.values()), 0, 1))


def _mean(values: Float32[np.ndarray, " N"], weights: Float32[np.ndarray, " N"]) -> float:
    return float((values * weights).sum() / max(float(weights.sum()), 1e-6))


def _beard(
    samples: PhotoSamples,
    shading: Float32[np.ndarray, " N"],
    probability: Float32[np.ndarray, " N"],
    dark: Float32[np.ndarray, " N"],
    weights: Float32[np.ndarray, " N"],
    areas: FaceAreas,
    atlas: Atlas,
) -> Float32[np.ndarray, " N"]:
    """Weights of a beard and of the skin in it; 0 without one.

    It grows above the mouth as well as around it, and on both sides: objects before the chin, hands
    and hair of the head seldom hide all these.
    """
    middle = weights * areas.beard * areas.face * (weights > 0.5)
    if (middle > 0.3).sum() < MIN_SKIN_TEXELS:
        return np.zeros(len(weights), np.float32)
    upper = middle * areas.moustache
    share = _least_half(dark, upper, areas) * _least_half(dark, middle - upper, areas)
    bearded = smoothstep(np.array([share**0.5]), *_BEARD_SHARE)[0]
    if bearded == 0:
        return np.zeros(len(weights), np.float32)
    hair = middle * dark
    known = np.flatnonzero(hair > 0.3)
    known = known[:: max(len(known) // 20000, 1)]
    model = fit_skin(samples.colours[known], shading[known], hair[known])
    alike = model.probability(samples.colours, shading, darker=_BEARD_SHADE)
    alike = np.maximum(alike, probability)
    darker = model.luminance_offset(samples.colours, shading) < 0
    alike = np.maximum(alike, areas.face * darker).astype(np.float32)
    return (bearded * areas.beard * _coherent(alike, weights, atlas)).astype(np.float32)


def _least_half(
    values: Float32[np.ndarray, " N"], weights: Float32[np.ndarray, " N"], areas: FaceAreas
) -> float:
    """The smaller one of the means over the halves of the face that are seen."""
    left = areas.left_half > 0.5
    halves = [weights * left, weights * ~left]
    total = float(weights.sum())
    return min(
        (_mean(values, half) for half in halves if half.sum() > _SIDE_SHOWN * total), default=0
    )


def _coherent(
    probability: Float32[np.ndarray, " N"], weights: Float32[np.ndarray, " N"], atlas: Atlas
) -> Float32[np.ndarray, " N"]:
    """1 where nearly all neighbours are probable, 0 where many are not."""
    return smoothstep(_window_mean(probability, weights, atlas), 0.70, 0.97).astype(np.float32)


def _window_mean(
    probability: Float32[np.ndarray, " N"],
    weights: Float32[np.ndarray, " N"],
    atlas: Atlas,
    share: float = _SKIN_BLUR,
) -> Float32[np.ndarray, " N"]:
    """Mean over the texels seen in a window, whose side is this share of the atlas."""
    window = max(3, round(share * atlas.size)) | 1
    seen = np.stack([probability * (weights > 0.02), (weights > 0.02)], axis=1)
    blurred = cv2.blur(atlas.image(seen.astype(np.float32)), (window, window))
    mean = blurred[..., 0] / np.maximum(blurred[..., 1], 1e-6)
    return mean.ravel()[atlas.index]
