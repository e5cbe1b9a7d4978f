"""Which pixels of a photo show the face, and which show what hangs over it or surrounds it.

Colours of the face and of its surroundings (hair, background, clothes) are told apart by the ratio
of their histograms, made of this photo alone. Something covers the face where the colours are those
of the surroundings and the area is connected with them: a blush, a shadow or a mole is neither.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import gaussian_filter

from eval_now.geometry.raster import rasterize
from flame_assets.model.head import HeadModel
from mica_ext.render.sampling import look_up
from mica_ext.render.shading import LUMA, to_linear
from mica_ext.render.texture.face_areas import FaceAreas
from mica_ext.render.views import View, screen_points

SIDE_PX = 288
"""Of the square around the face that is looked at."""
MARGIN = 0.6
"""Of that square around the face on each side, as a share of the face's height."""
_BINS = 20
_RANGES = ((-5.5, 0.1), (-0.5, 1.5), (-1.5, 0.5))
"""Of log luminance, log red over green, log blue over green."""
_FLOOR = 0.02
"""Least value of a histogram, as a multiple of its mean."""
_ROUNDS = 3
_BIAS = 1.0
"""Log odds that a pixel between jaw line and brows shows the face, before its colour is known."""
_SMOOTHING_PX = 1.3
_COVERED = 0.6
"""Log likelihood ratio of the surroundings over the face from which a pixel may be covered."""
_STRAND = 0.3
"""The same on the forehead beside what is covered: strands are mixed with skin."""
_DARK_HAIR, _DARK_SKIN, _OBJECT_SHARE, _MIN_PIXELS = 0.5, 0.08, 0.3, 20
"""Below the nose, what is darker than this multiple of the brows and of the cheeks is an object, if
it takes up less than a share of that area."""
_BROAD_PX = 5
"""Between the brows and the nose, only what is so wide covers the face: frames of glasses stay."""
_EDGE_PX = 3
"""Covers are removed with a margin of their shadow."""
_SHADOW_PX = 4.0
"""Reach of the shadows of covers."""


class Segmentation(NamedTuple):
    """A square part of a photo, resized."""

    ratio: Float32[np.ndarray, "side side"]
    """Log likelihood ratio of the face's colours over those of its surroundings."""
    cover: Float32[np.ndarray, "side side"]
    """1 where something hangs over the face, 0 elsewhere, with soft edges."""
    beside: Float32[np.ndarray, "side side"]
    """`cover`, spread as far as its shadow may fall."""
    offset: Float[np.ndarray, "2"]
    """Of the part in the photo [px]."""
    scale: float
    """Its pixels per pixel of the photo."""

    def at(
        self, pixels: Float[np.ndarray, "N 2"]
    ) -> tuple[Float32[np.ndarray, " N"], Float32[np.ndarray, " N"], Float32[np.ndarray, " N"]]:
        """`ratio`, `cover` and `beside` at places of the photo [px]."""
        places = (pixels - self.offset + 0.5) * self.scale - 0.5
        found = look_up(np.stack([self.ratio, self.cover, self.beside], axis=2), places)
        return found[:, 0], found[:, 1], found[:, 2]


def segment_face(
    image: UInt8[np.ndarray, "H W 3"],
    head: HeadModel,
    view: View,
    vertices: Float[np.ndarray, "V 3"],
    areas: FaceAreas,
) -> Segmentation:
    """Tell the face from what covers and surrounds it.

    Args:
        image: the photo, RGB.
        head: gives the triangles.
        view: of the photo.
        vertices: the head as in the photo [m].
        areas: per vertex.
    """
    screen = screen_points(view, vertices)
    part, offset, scale = _part(image, screen[areas.face > 0.5])
    drawn, hit = _draw_areas(head, screen, areas, offset, scale)
    inside = _inside_photo(image, offset, scale)
    around = (cv2.dilate(hit.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0) * inside
    outer = np.maximum(around, drawn.scalp * inside)
    inner = drawn.face * (1 + 2 * drawn.cheeks) * (1 - drawn.features) * inside
    colours = to_linear(part / np.float32(255.0))
    ratio = _log_ratio(_bins(colours), inner, outer)
    lower = (1 - drawn.upper) * drawn.face * (1 - drawn.features)
    dark = _dark_object(colours @ LUMA, drawn.brows, drawn.cheeks, lower)
    ratio = np.where(dark, np.minimum(ratio, -2 * _COVERED), ratio)
    cover = _cover(ratio, hit, drawn.face, drawn.features, drawn.forehead)
    beside = np.minimum(2 * cv2.GaussianBlur(cover, (0, 0), _SHADOW_PX), 1)
    return Segmentation(ratio, cover, beside, offset, scale)


class _DrawnAreas(NamedTuple):
    """Areas of the head at the pixels of the part, 0 to 1."""

    face: Float32[np.ndarray, "side side"]
    cheeks: Float32[np.ndarray, "side side"]
    features: Float32[np.ndarray, "side side"]
    """Eyes and brows."""
    scalp: Float32[np.ndarray, "side side"]
    brows: Float32[np.ndarray, "side side"]
    forehead: Float32[np.ndarray, "side side"]
    upper: Float32[np.ndarray, "side side"]


def _draw_areas(
    head: HeadModel,
    screen: Float[np.ndarray, "V 3"],
    areas: FaceAreas,
    offset: Float[np.ndarray, "2"],
    scale: float,
) -> tuple[_DrawnAreas, Bool[np.ndarray, "side side"]]:
    """The areas as the part shows them, and the pixels that the head covers."""
    places = screen.copy()
    places[:, :2] = (screen[:, :2] - offset + 0.5) * scale - 0.5
    raster = rasterize(places, head.triangles, SIDE_PX, SIDE_PX)
    hit = raster.triangles >= 0
    brows = np.maximum(areas.right_brow, areas.left_brow)
    per_vertex = _DrawnAreas(
        face=areas.face,
        cheeks=areas.cheeks,
        features=np.maximum(areas.eyes, brows),
        scalp=areas.scalp,
        brows=brows,
        forehead=areas.forehead,
        upper=areas.upper,
    )
    drawn = np.zeros((len(per_vertex), *hit.shape), np.float32)
    corners = np.stack(per_vertex)[:, head.triangles[raster.triangles[hit]]]
    drawn[:, hit] = np.einsum("pk,cpk->cp", raster.barycentric[hit], corners)
    return _DrawnAreas(*(drawn[index] for index in range(len(drawn)))), hit


def _log_ratio(
    index: tuple[np.ndarray, ...],
    inner: Float32[np.ndarray, "side side"],
    outer: Float32[np.ndarray, "side side"],
) -> Float32[np.ndarray, "side side"]:
    """Smoothed log likelihood ratio of the face's colours over its surroundings'.

    The face's histogram is made again from the pixels that are likely to show it, as in
    expectation-maximisation.

    Args:
        index: bins of the pixels.
        inner: weights of pixels between jaw line and brows.
        outer: weights of the surroundings.
    """
    ratio, keep = np.zeros_like(inner), np.ones_like(inner)
    surroundings = np.log(_histogram(index, outer))
    for _ in range(_ROUNDS):
        face = np.log(_histogram(index, inner * keep))
        ratio = cv2.GaussianBlur((face - surroundings)[index], (0, 0), _SMOOTHING_PX)
        keep = 1 / (1 + np.exp(-2 * (ratio + _BIAS)))
    return ratio


def _part(
    image: UInt8[np.ndarray, "H W 3"], face: Float[np.ndarray, "n 3"]
) -> tuple[UInt8[np.ndarray, "side side 3"], Float[np.ndarray, "2"], float]:
    """The square around the face, its corner in the photo, and its scale; black beyond borders."""
    low, high = np.nanmin(face[:, :2], axis=0), np.nanmax(face[:, :2], axis=0)
    height = float((high - low).max())
    side = (1 + 2 * MARGIN) * height
    offset = (low + high) / 2 - side / 2
    scale = SIDE_PX / side
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    matrix[:, 2] = -(offset - 0.5) * scale - 0.5
    source = image
    if scale < 0.5:  # average before sampling
        blur = 0.4 / scale
        source = cv2.GaussianBlur(image, (0, 0), blur)
    part = cv2.warpAffine(
        source, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return part, offset, scale


def _inside_photo(
    image: UInt8[np.ndarray, "H W 3"], offset: Float[np.ndarray, "2"], scale: float
) -> Float32[np.ndarray, "side side"]:
    """1 on the photo, 0 beyond its borders."""
    row = np.arange(SIDE_PX)
    x, y = (row + 0.5) / scale + offset[0] - 0.5, (row + 0.5) / scale + offset[1] - 0.5
    across = (x >= 0) & (x <= image.shape[1] - 1)
    down = (y >= 0) & (y <= image.shape[0] - 1)
    return (down[:, None] & across[None]).astype(np.float32)


def _bins(colours: Float32[np.ndarray, "h w 3"]) -> tuple[np.ndarray, ...]:
    """Of each pixel in the three axes of a histogram."""
    logs = np.log(colours + 0.01)
    luma = np.log(np.maximum(colours @ LUMA, 0.004))
    axes = (luma, logs[..., 0] - logs[..., 1], logs[..., 2] - logs[..., 1])
    return tuple(
        np.clip((axis - low) / (high - low) * _BINS, 0, _BINS - 1).astype(np.int64)
        for axis, (low, high) in zip(axes, _RANGES, strict=True)
    )


def _histogram(
    index: tuple[np.ndarray, ...], weights: Float32[np.ndarray, "h w"]
) -> Float[np.ndarray, "bins bins bins"]:
    """Smoothed density of the weighted pixels' colours."""
    flat = np.ravel_multi_index(index, (_BINS,) * 3).ravel()
    counts = np.bincount(flat, weights.ravel(), _BINS**3).reshape((_BINS,) * 3)
    density = gaussian_filter(counts / max(float(counts.sum()), 1e-6), (1.0, 0.7, 0.7))
    return (density + _FLOOR / _BINS**3).astype(np.float32)


def _dark_object(
    luminance: Float32[np.ndarray, "h w"],
    brows: Float32[np.ndarray, "h w"],
    cheeks: Float32[np.ndarray, "h w"],
    lower: Float32[np.ndarray, "h w"],
) -> Bool[np.ndarray, "h w"]:
    """What is too dark for a beard of hair like the brows', such as a microphone."""
    if (brows > 0.5).sum() < _MIN_PIXELS or (cheeks > 0.5).sum() < _MIN_PIXELS:
        return np.zeros(luminance.shape, bool)
    hair = float(np.percentile(luminance[brows > 0.5], 10))
    skin = float(np.median(luminance[cheeks > 0.5]))
    dark = (luminance < min(_DARK_HAIR * hair, _DARK_SKIN * skin)) & (lower > 0.3)
    return dark if dark.sum() < _OBJECT_SHARE * (lower > 0.3).sum() else np.zeros_like(dark)


def _cover(
    ratio: Float32[np.ndarray, "h w"],
    hit: Bool[np.ndarray, "h w"],
    face: Float32[np.ndarray, "h w"],
    features: Float32[np.ndarray, "h w"],
    forehead: Float32[np.ndarray, "h w"],
) -> Float32[np.ndarray, "h w"]:
    """1 where what is connected with the surroundings hangs over the face."""
    other = (ratio < -_COVERED) & (features < 0.5)
    broad = np.ones((_BROAD_PX, _BROAD_PX), np.uint8)
    opened = cv2.morphologyEx(other.astype(np.uint8), cv2.MORPH_OPEN, broad) > 0
    connecting = np.where(face > 0.5, opened, other) | ~hit
    _, labels = cv2.connectedComponents(connecting.astype(np.uint8), connectivity=4)
    outside = np.unique(labels[connecting & (~hit | (face < 0.5))])
    cover = np.isin(labels, outside[outside > 0]) & hit
    strands = ((ratio < _STRAND) & (forehead > 0.5) & (features < 0.5)) | cover
    _, labels = cv2.connectedComponents(strands.astype(np.uint8))
    cover |= np.isin(labels, np.unique(labels[cover])) & strands
    margin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _EDGE_PX + 1,) * 2)
    grown = cv2.dilate(cover.astype(np.uint8), margin).astype(np.float32)
    return cv2.GaussianBlur(grown, (0, 0), 1.0)
