"""The photo unwrapped into a head's atlas, completed where the photo shows nothing.

The texture is a smooth colour field on the mesh plus details of the photo. The field is harmonic
where nothing is seen, follows the photo's colours and, more weakly, those of the mirror side; the
details fade out with the confidence in the photo and give way to those of the mirror side. So there
is no seam, whatever is missing.
"""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from flame_assets.model.head import HeadModel
from mica_ext.models.types import Camera
from mica_ext.render.sampling import smoothstep
from mica_ext.render.shading import LUMA, from_linear, to_linear
from mica_ext.render.texture.atlas import Atlas, make_atlas
from mica_ext.render.texture.face_areas import FaceAreas, face_areas
from mica_ext.render.texture.fill import fill_smoothly
from mica_ext.render.texture.lighting import fit_shading, shading_factors
from mica_ext.render.texture.painted import paint, painted_vertices, saturation_of
from mica_ext.render.texture.photo_samples import PhotoSamples, sample_photo
from mica_ext.render.texture.skin import fit_skin
from mica_ext.render.textured import TexturedMesh
from mica_ext.render.views import View

ATLAS_SIZE = 1024
LIGHT_REMOVED = 0.5
"""Share of the photo's shading (in the logarithm) that is taken out of the texture."""
MIN_SKIN_TEXELS = 500
"""Of surely visible skin; without them no colour model is made."""
PLAIN_SKIN = (0.75, 0.58, 0.50)
"""SRGB where neither photo nor head tell a colour."""
_DATA_WEIGHT, _MIRROR_CONFIDENCE, _PRIOR_WEIGHT = 12.0, 0.15, 0.02
_TRUSTED = (0.5, 0.95)
"""Weights from which colours of the inner face count although they do not look like skin: on the
far side of a turned head they may as well be hair behind it."""
_SKIN_BLUR = 0.012
"""Window in which a texel's neighbours must show skin, too, as a share of the atlas."""
_FEATHER = 0.016
"""Width over which details fade, as a share of the atlas."""


def bake_texture(
    image: UInt8[np.ndarray, "H W 3"],
    head: HeadModel,
    camera: Camera,
    posed_vertices: Float[np.ndarray, "V 3"],
    size: int = ATLAS_SIZE,
) -> TexturedMesh:
    """The texture of a head from one photo.

    Args:
        image: the photo, RGB.
        head: with texture coordinates.
        camera: of the photo, a batch of one.
        posed_vertices: the head as in the photo [m].
        size: of the texture [texels].

    Raises:
        UserError: the head has no texture coordinates.
    """
    atlas = make_atlas(head, size)
    assert head.uv is not None
    assert head.uv_triangles is not None
    painted = painted_vertices(head)
    inner = np.asarray(painted[head.triangles].all(axis=1))
    samples = sample_photo(image, head, View.from_camera(camera), posed_vertices, atlas, inner)
    on_skin = ~inner[atlas.triangles]
    areas = _areas(head)
    colours, weights = _skin_only(samples, head, atlas, areas, on_skin)
    weights = _feathered(weights, atlas)
    field = _colour_field(colours, weights, head, atlas, areas, painted)
    texture = _with_details(colours, weights, field, head, atlas)
    if painted.any():
        linear = _paint_inner_parts(samples, head, atlas, areas, on_skin)
        texture[~on_skin] = from_linear(linear[~on_skin])
    picture = np.rint(np.clip(atlas.filled(texture), 0, 1) * 255).astype(np.uint8)
    return TexturedMesh(picture, head.uv, head.uv_triangles)


@lru_cache(maxsize=2)
def _areas(head: HeadModel) -> FaceAreas:
    return face_areas(head)


def _skin_only(
    samples: PhotoSamples,
    head: HeadModel,
    atlas: Atlas,
    areas: FaceAreas,
    on_skin: Bool[np.ndarray, " N"],
) -> tuple[Float32[np.ndarray, "N 3"], Float32[np.ndarray, " N"]]:
    """SRGB of the photo with its light evened, and the weight of each texel as part of the face."""
    weights = (samples.weights * on_skin).astype(np.float32)
    face, cheeks = atlas.interpolate(head, np.stack(areas, axis=1)).T
    sure = weights * cheeks
    if (sure > 0.3).sum() < MIN_SKIN_TEXELS:
        return from_linear(samples.colours), weights * face
    luminance = samples.colours @ LUMA
    mean = float(np.average(luminance, weights=sure))
    chosen = sure > 0.05
    shading = np.ones(len(weights), np.float32)
    coefficients = np.zeros(9)
    for _ in range(2):  # first from the cheeks, then from all skin
        rows = np.flatnonzero(chosen)[:: max(int(chosen.sum()) // 20000, 1)]
        fitted = sure if _ == 0 else weights
        coefficients = fit_shading(samples.normals[rows], luminance[rows], fitted[rows])
        shading = shading_factors(coefficients, samples.normals, mean)
        known = np.flatnonzero(sure > 0.3)
        known = known[:: max(len(known) // 20000, 1)]
        model = fit_skin(samples.colours[known], shading[known], sure[known])
        probability = model.probability(samples.colours, shading)
        chosen = (weights > 0.3) & (probability > 0.5)
    probability = _coherent(probability, weights, atlas)
    evened = samples.colours / (shading**LIGHT_REMOVED)[:, None]
    face = face * smoothstep(weights, *_TRUSTED)
    return from_linear(evened), weights * np.maximum(face, probability)


def _coherent(
    probability: Float32[np.ndarray, " N"], weights: Float32[np.ndarray, " N"], atlas: Atlas
) -> Float32[np.ndarray, " N"]:
    """The probability of skin where nearly all neighbours show skin, else 0."""
    window = max(3, round(_SKIN_BLUR * atlas.size)) | 1
    seen = np.stack([probability * (weights > 0.02), (weights > 0.02)], axis=1)
    blurred = cv2.blur(atlas.image(seen.astype(np.float32)), (window, window))
    mean = blurred[..., 0] / np.maximum(blurred[..., 1], 1e-6)
    steady = smoothstep(mean.ravel()[atlas.index], 0.70, 0.97)
    return np.minimum(steady, smoothstep(mean.ravel()[atlas.index], 0.5, 0.9)).astype(np.float32)


def _colour_field(
    colours: Float32[np.ndarray, "N 3"],
    weights: Float32[np.ndarray, " N"],
    head: HeadModel,
    atlas: Atlas,
    areas: FaceAreas,
    painted: Bool[np.ndarray, " V"],
) -> Float32[np.ndarray, "V 3"]:
    """Smooth sRGB per vertex: the photo's, the mirror side's, and between them harmonic."""
    total = np.maximum(atlas.gather(head, np.ones((len(weights), 1)))[:, 0], 1e-6)
    own = atlas.gather(head, np.c_[weights[:, None], weights[:, None] * colours])
    across = atlas.mirrored(np.c_[weights[:, None], weights[:, None] * colours])
    across = atlas.gather(head, across)
    confidence, other = own[:, 0] / total, across[:, 0] / total
    other = _MIRROR_CONFIDENCE * other * (1 - confidence)
    both = (own + _MIRROR_CONFIDENCE * (1 - confidence)[:, None] * across) / total[:, None]
    known = both[:, 1:] / np.maximum(both[:, :1], 1e-6)
    mean = _skin_colour(known, both[:, 0] * areas.cheeks, head)
    return fill_smoothly(
        head.triangles,
        known,
        np.where(painted, 0.0, confidence + other),
        np.broadcast_to(mean, known.shape),
        data_weight=_DATA_WEIGHT,
        prior_weight=_PRIOR_WEIGHT,
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


def _with_details(
    colours: Float32[np.ndarray, "N 3"],
    weights: Float32[np.ndarray, " N"],
    field: Float32[np.ndarray, "V 3"],
    head: HeadModel,
    atlas: Atlas,
) -> Float32[np.ndarray, "N 3"]:
    """The field, the photo's details on it where they are known, else those across the face."""
    base = atlas.interpolate(head, field)
    details = weights[:, None] * (colours - base)
    return base + details + (1 - weights)[:, None] * atlas.mirrored(details)


def _feathered(weights: Float32[np.ndarray, " N"], atlas: Atlas) -> Float32[np.ndarray, " N"]:
    """Weights that fall to 0 smoothly before they reach what has none, such as hair."""
    size = max(3, round(_FEATHER * atlas.size)) | 1
    picture = atlas.filled(weights[:, None])[..., 0]
    low = cv2.erode(picture, np.ones((size, size), np.uint8))
    soft = cv2.GaussianBlur(low, (0, 0), size / 2).ravel()[atlas.index]
    return np.minimum(weights, soft)


def _paint_inner_parts(
    samples: PhotoSamples,
    head: HeadModel,
    atlas: Atlas,
    areas: FaceAreas,
    on_skin: Bool[np.ndarray, " N"],
) -> Float32[np.ndarray, "N 3"]:
    """Linear RGB of the painted parts under the photo's light, at all texels."""
    assert head.colours is not None
    cheeks = atlas.interpolate(head, areas.cheeks[:, None])[:, 0] * samples.weights * on_skin
    exposure, saturation = 1.0, 1.0
    if cheeks.sum() > MIN_SKIN_TEXELS:
        own = atlas.interpolate(head, to_linear(head.colours)) @ LUMA
        exposure = float(np.average(samples.colours @ LUMA, weights=cheeks))
        exposure /= float(np.average(own, weights=cheeks))
        saturation = saturation_of(np.average(samples.colours, axis=0, weights=cheeks))
    clear = (samples.weights * (samples.weights > 0.8))[:, None]
    seen = atlas.gather(head, np.c_[clear, clear * samples.colours])
    colours = seen[:, 1:] / np.maximum(seen[:, :1], 1e-6)
    return atlas.interpolate(head, paint(head, exposure, saturation, colours, seen[:, 0]))
