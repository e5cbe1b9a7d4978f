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
from mica_ext.render.shading import LUMA, from_linear, to_linear
from mica_ext.render.texture.atlas import Atlas, make_atlas
from mica_ext.render.texture.face_areas import FaceAreas, face_areas
from mica_ext.render.texture.face_mask import MIN_SKIN_TEXELS, mask_face
from mica_ext.render.texture.fill import fill_smoothly
from mica_ext.render.texture.painted import paint, painted_vertices, saturation_of
from mica_ext.render.texture.photo_samples import PhotoSamples, sample_photo
from mica_ext.render.textured import TexturedMesh
from mica_ext.render.views import View

ATLAS_SIZE = 1024
LIGHT_REMOVED = 0.5
"""Share of the photo's shading (in the logarithm) that is taken out of the texture."""
PLAIN_SKIN = (0.75, 0.58, 0.50)
"""SRGB where neither photo nor head tell a colour."""
_DATA_WEIGHT, _MIRROR_CONFIDENCE, _PRIOR_WEIGHT = 12.0, 0.15, 0.02
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
    texel_areas = FaceAreas(*atlas.interpolate(head, np.stack(areas, axis=1)).T)
    mask = mask_face(samples, texel_areas, atlas, on_skin)
    colours = from_linear(samples.colours / (mask.shading**LIGHT_REMOVED)[:, None])
    weights = _feathered(mask.face, atlas)
    surface = _feathered(np.minimum(weights, mask.surface), atlas)
    field = _colour_field(colours, surface, head, atlas, areas, painted)
    texture = _with_details(colours, weights * (1 - texel_areas.neck), field, head, atlas)
    if painted.any():
        linear = _paint_inner_parts(samples, head, atlas, areas, on_skin)
        texture[~on_skin] = from_linear(linear[~on_skin])
    picture = np.rint(np.clip(atlas.filled(texture), 0, 1) * 255).astype(np.uint8)
    return TexturedMesh(picture, head.uv, head.uv_triangles)


@lru_cache(maxsize=2)
def _areas(head: HeadModel) -> FaceAreas:
    return face_areas(head)


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
