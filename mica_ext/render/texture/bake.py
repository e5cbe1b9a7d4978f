"""The photo unwrapped into a head's atlas, completed where the photo shows nothing.

The texture is a smooth colour field on the mesh plus details of the photo. The field is harmonic
where nothing is seen, follows the photo's colours and, more weakly, those of the mirror side; the
details fade out with the confidence in the photo and give way to those of the mirror side. So there
is no seam, whatever is missing.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from eval_now.geometry.normals import vertex_normals
from flame_assets.model.head import HeadModel
from mica_ext.models.types import Camera
from mica_ext.render.shading import LUMA, from_linear, to_linear
from mica_ext.render.texture.atlas import Atlas, make_atlas
from mica_ext.render.texture.colour_field import DATA_WEIGHT, colour_field
from mica_ext.render.texture.face_areas import FaceAreas, face_areas
from mica_ext.render.texture.face_mask import MIN_SKIN_TEXELS, mask_face
from mica_ext.render.texture.fill import fill_smoothly
from mica_ext.render.texture.painted import (
    paint,
    painted_vertices,
    regions_named,
    saturation_of,
)
from mica_ext.render.texture.photo_samples import PhotoSamples, sample_photo
from mica_ext.render.texture.segmentation import segment_face
from mica_ext.render.textured import TexturedMesh
from mica_ext.render.views import View

ATLAS_SIZE = 1024
LIGHT_REMOVED = 0.7
"""Share of the photo's shading (in the logarithm) that is taken out of the texture."""
_INNER_PRIOR_WEIGHT = 0.1
"""Of the head's paint of teeth, tongue and the mouth's inside beside what the photo shows."""
_RATIO_LIMITS = (-2.5, 1.0)
"""Of log colours of the photo over the paint there."""
_INNER_FEATHER = 0.004
"""Width of the edges between photo and paint in eyes and mouth, as a share of the atlas."""
_SIDE_LIMIT = 0.8
"""Of half the difference of the halves' log luminance."""
_SIDE_DATA_WEIGHT, _SIDE_PRIOR_WEIGHT = 0.1, 0.003
"""Low: light is smooth."""
_FEATHER, _SURFACE_INSET = 0.016, 0.008
"""Width over which details fade, and further inwards the colours that go on where nothing is seen,
as shares of the atlas."""


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
    view, areas = View.from_camera(camera), _areas(head)
    samples = sample_photo(image, head, view, posed_vertices, atlas, inner)
    segmentation = segment_face(image, head, view, posed_vertices, areas)
    on_skin = ~inner[atlas.triangles]
    texel_areas = FaceAreas(*atlas.interpolate(head, np.stack(areas, axis=1)).T)
    mask = mask_face(samples, texel_areas, atlas, on_skin, segmentation)
    normals = vertex_normals(posed_vertices, head.triangles) @ view.rotation.T
    light = mask.light.on(normals)
    light *= _side_light(samples.colours, light, mask.surface, head, atlas)
    light **= np.float32(LIGHT_REMOVED)
    evened = samples.colours / atlas.interpolate(head, light[:, None])
    colours = from_linear(evened)
    weights = _feathered(mask.face, atlas, _FEATHER)
    surface = _feathered(np.minimum(weights, mask.surface), atlas, _SURFACE_INSET)
    field = colour_field(colours, surface, mask.beard, head, atlas, areas, painted)
    texture = _with_details(colours, weights * (1 - texel_areas.neck), field, head, atlas)
    if painted.any():
        tone = _skin_tone(evened, samples.weights * on_skin * texel_areas.cheeks, head, atlas)
        texture[~on_skin] = from_linear(_inner_parts(samples, evened, tone, head, atlas, ~on_skin))
    picture = np.rint(np.clip(atlas.filled(texture), 0, 1) * 255).astype(np.uint8)
    return TexturedMesh(picture, head.uv, head.uv_triangles, light)


@lru_cache(maxsize=2)
def _areas(head: HeadModel) -> FaceAreas:
    return face_areas(head)


def _side_light(
    colours: Float32[np.ndarray, "N 3"],
    light: Float32[np.ndarray, " V"],
    weights: Float32[np.ndarray, " N"],
    head: HeadModel,
    atlas: Atlas,
) -> Float32[np.ndarray, " V"]:
    """Smooth light per vertex by which the halves of the face differ, beyond `light`.

    Args:
        colours: linear RGB of the photo.
        light: factors already known.
        weights: of seen skin.
        head: gives the triangles.
        atlas: of the texels.
    """
    rows = weights > 0
    seen, weights = atlas.select(rows), weights[rows, None]
    luminance = np.log(np.maximum(colours[rows] @ LUMA, 1e-3))[:, None]
    sums = seen.gather(head, np.c_[weights, weights * luminance])
    confidence = np.minimum(sums[:, 0], 1)
    level = sums[:, 1] / np.maximum(sums[:, 0], 1e-6) - np.log(light)
    difference = np.clip((level - level[atlas.twins]) / 2, -_SIDE_LIMIT, _SIDE_LIMIT)
    smooth = fill_smoothly(
        head.triangles,
        difference[:, None],
        np.minimum(confidence, confidence[atlas.twins]),
        np.zeros((len(difference), 1)),
        data_weight=_SIDE_DATA_WEIGHT,
        prior_weight=_SIDE_PRIOR_WEIGHT,
    )
    return np.exp(smooth[:, 0]).astype(np.float32)


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


def _feathered(
    weights: Float32[np.ndarray, " N"], atlas: Atlas, width: float
) -> Float32[np.ndarray, " N"]:
    """Weights that fall to 0 smoothly before they reach what has none, such as hair; over a width
    in shares of the atlas."""
    size = max(3, round(width * atlas.size)) | 1
    picture = atlas.filled(weights[:, None])[..., 0]
    low = cv2.erode(picture, np.ones((size, size), np.uint8))
    soft = cv2.GaussianBlur(low, (0, 0), size / 2).ravel()[atlas.index]
    return np.minimum(weights, soft)


class _SkinTone(NamedTuple):
    """The photo's skin relative to the head's paint."""

    exposure: float
    """Luminance over that of the head's painted skin."""
    saturation: float
    """See `painted.saturation_of`."""


def _skin_tone(
    colours: Float32[np.ndarray, "N 3"],
    weights: Float32[np.ndarray, " N"],
    head: HeadModel,
    atlas: Atlas,
) -> _SkinTone:
    """Of linear RGB at texels of the cheeks."""
    assert head.colours is not None
    if weights.sum() <= MIN_SKIN_TEXELS:
        return _SkinTone(1.0, 1.0)
    rows = weights > 0
    own = atlas.select(rows).interpolate(head, to_linear(head.colours))
    seen = np.average(colours[rows], axis=0, weights=weights[rows])
    exposure = float(seen @ LUMA) / float(np.average(own @ LUMA, weights=weights[rows]))
    return _SkinTone(exposure, saturation_of(seen))


def _inner_parts(
    samples: PhotoSamples,
    evened: Float32[np.ndarray, "N 3"],
    tone: _SkinTone,
    head: HeadModel,
    atlas: Atlas,
    inner: Bool[np.ndarray, " N"],
) -> Float32[np.ndarray, "n 3"]:
    """Linear RGB at the texels of eyes and of the mouth's inside: what the photo shows of them, and
    the head's own paint elsewhere."""
    part, evened = atlas.select(inner), evened[inner]
    weights = samples.weights[inner]
    clear = (weights * (weights > 0.8))[:, None]
    sums = part.gather(head, np.c_[clear, clear * evened])
    own = paint(head, *tone, sums[:, 1:] / np.maximum(sums[:, :1], 1e-6), sums[:, 0])
    shown = samples.visible[inner].astype(np.float32)[:, None]
    sums = part.gather(head, np.c_[shown, shown * evened, np.ones_like(shown)])
    mouth = painted_vertices(head) & ~regions_named(head, "eyeball")
    photo = sums[:, 1:4] / np.maximum(sums[:, :1], 1e-6)
    ratio = np.log(np.maximum(photo, 1e-3)) - np.log(np.maximum(own, 1e-3))
    ratio = fill_smoothly(
        head.triangles[mouth[head.triangles].all(axis=1)],
        np.clip(ratio, *_RATIO_LIMITS),
        mouth * sums[:, 0] / np.maximum(sums[:, 4], 1e-6),
        np.zeros_like(ratio),
        data_weight=DATA_WEIGHT,
        prior_weight=_INNER_PRIOR_WEIGHT,
    )
    own = own * np.exp(ratio * mouth[:, None]).astype(np.float32)
    base = part.interpolate(head, own)
    return base + _softened(shown, part) * (evened - base)


def _softened(weights: Float32[np.ndarray, "N 1"], atlas: Atlas) -> Float32[np.ndarray, "N 1"]:
    """Weights with soft edges."""
    size = max(3, round(_INNER_FEATHER * atlas.size)) | 1
    soft = cv2.GaussianBlur(atlas.image(weights)[..., 0], (size, size), 0)
    return np.minimum(weights, soft.ravel()[atlas.index][:, None])
