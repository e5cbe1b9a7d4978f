"""Random skin, hair, brows, lashes and beards for any head model: vertex colours and strokes.

Placed by the 68 landmarks of the neutral head.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial import KDTree

from flame_assets.model.head import HeadModel
from mica_ext.render.shading import PLAIN_COLOUR

SKIN_TONES = np.array(
    [
        [0.95, 0.80, 0.73],
        [0.90, 0.72, 0.62],
        [0.83, 0.63, 0.51],
        [0.72, 0.52, 0.40],
        [0.56, 0.39, 0.29],
        [0.42, 0.28, 0.21],
        [0.29, 0.20, 0.16],
    ]
)
HAIR_COLOURS = np.array(
    [
        [0.06, 0.05, 0.05],
        [0.14, 0.10, 0.08],
        [0.27, 0.18, 0.12],
        [0.42, 0.30, 0.19],
        [0.66, 0.53, 0.35],
        [0.45, 0.20, 0.10],
        [0.62, 0.60, 0.58],
    ]
)
IRIS_COLOURS = np.array(
    [[0.20, 0.12, 0.07], [0.32, 0.20, 0.11], [0.33, 0.34, 0.20], [0.30, 0.42, 0.52]]
)
NOT_SKIN = ("eyeball", "teeth", "tongue", "mouth")
"""Regions whose name contains one of these are not skin."""
EARS = ("left_ear", "right_ear")
"""Regions that no hair grows on."""
FACE_HEIGHT = 0.11
"""Pupils to chin of the face that lengths below are given for [m]."""


class Hairs(NamedTuple):
    """Short hairs rooted at vertices."""

    vertices: Int[np.ndarray, " n"]
    offsets: Float[np.ndarray, "n 3"]
    """Root to tip [m]."""
    colour: Float[np.ndarray, "3"]
    width_m: float
    opacity: float


class Appearance(NamedTuple):
    """One person's surface; colours are sRGB in [0, 1]."""

    colours: Float32[np.ndarray, "V 3"]
    hair_thickness: Float32[np.ndarray, " V"]
    """Along the normals [m]."""
    hair_coverage: Float32[np.ndarray, " V"]
    """0 where no hair of the head grows, 1 where it covers the skin."""
    hair_colour: Float[np.ndarray, "3"]
    hairs: tuple[Hairs, ...]
    long_hair: bool
    hair_over_face: bool


class AppearanceSampler:
    """Where skin, hair, brows and beard are on one head model, and random ones there."""

    def __init__(self, head: HeadModel, landmarks: Float32[np.ndarray, "68 3"]) -> None:
        points = head.template
        self.points = points
        eyes, chin = landmarks[36:48].mean(axis=0), landmarks[8]
        scale = float(eyes[1] - chin[1]) / FACE_HEIGHT
        ear_z = float(landmarks[[0, 16], 2].mean())
        base = head.colours
        if base is None:
            base = np.broadcast_to(np.array(PLAIN_COLOUR, np.float32), points.shape)
        self.base = base
        self.skin = np.ones(len(points), bool)
        eyeballs, ears = np.zeros(len(points), bool), np.zeros(len(points), bool)
        for name, ids in head.regions.items():
            if any(part in name for part in NOT_SKIN):
                self.skin[ids] = False
            if "eyeball" in name:
                eyeballs[ids] = True
            if name in EARS:
                ears[ids] = True
        brightness = base.max(axis=1)
        self.iris = eyeballs & (brightness > 0.12) & (brightness < 0.7)
        self.skin_colour = np.median(base[self.skin], axis=0)
        height = (points[:, 1] - eyes[1]) / scale
        depth = (points[:, 2] - ear_z) / scale
        side = np.abs(points[:, 0]) / scale
        line = np.interp(
            depth, [-0.035, -0.02, 0.01, 0.04, 0.075], [-0.09, 0.012, 0.02, 0.052, 0.072]
        )
        self.hair_field = np.where(self.skin & ~ears, height - line, -1.0)  # [m]; positive: hair
        self.hair_volume = _smoothstep(height + 0.05, 0.06)  # flat at the nape and about the ears
        if ears.any():
            gap = KDTree(points[ears]).query(points)[0] / scale
            self.hair_volume *= _smoothstep(gap - 0.003, 0.02)
        nose, mouth = (landmarks[33, 1] - eyes[1]) / scale, (landmarks[48, 1] - eyes[1]) / scale
        upper = np.interp(
            side, [0.0, 0.02, 0.04, 0.055, 0.07], [nose - 0.006, nose - 0.006, mouth, mouth, -0.01]
        )
        chin_height = (chin[1] - eyes[1]) / scale
        beard = np.minimum(upper - height, height - (chin_height - 0.02))
        beard = np.minimum(beard, depth - 0.0)
        lips = head.regions.get("lips", np.zeros(0, np.int32))
        beard[lips] = -1.0
        self.beard_field = np.where(self.skin & ~ears, beard, -1.0)
        brows, lids = ([landmarks[part] for part in parts] for parts in (_BROWS, _LIDS))
        middles = [line - np.outer(_BELOW_EDGE, [0.0, scale, 0.0]) for line in brows]
        self.brows = [
            _near_polyline(points, self.skin, line.astype(np.float32), 0.0045 * scale)
            for line in middles
        ]
        self.brow_ends = [line[end] for line, end in zip(middles, (0, 4), strict=True)]
        self.lashes = [_near_polyline(points, self.skin, line, 0.0035 * scale) for line in lids]

    def sample(self, generator: np.random.Generator) -> Appearance:
        """Skin, eyes, hair, brows and beard of a random person."""
        tone = _interpolate(SKIN_TONES, generator.random() ** 1.15) * np.exp(
            generator.normal(0, 0.025, 3)
        )
        hair = _interpolate(HAIR_COLOURS, generator.random()) * np.exp(generator.normal(0, 0.1))
        if tone[0] < 0.6:
            hair = hair * 0.4
        colours = self.base.copy()
        colours[self.skin] *= tone / self.skin_colour
        mottle = (
            1
            + 0.03 * waves(generator, self.points, 0.025)
            + 0.04 * waves(generator, self.points, 0.06)
        )
        blush = waves(generator, self.points, 0.05) * generator.uniform(0, 0.06)
        colours[self.skin] *= (mottle[:, None] + blush[:, None] * [0.3, -1.0, -0.8])[self.skin]
        iris = IRIS_COLOURS[generator.integers(len(IRIS_COLOURS))]
        colours[self.iris] = iris * generator.uniform(0.6, 1.3)
        beard = generator.random()
        if beard < 0.3:
            field = self.beard_field + 0.0015 * waves(generator, self.points, 0.02)
            amount = _smoothstep(field, 0.008)
            amount = amount * (generator.uniform(0.5, 0.9) if beard < 0.13 else 0.25)
            colours += amount[:, None] * (hair * 0.8 - colours)
        bald = generator.random() < 0.12
        field = self.hair_field - generator.normal(0.0, 0.006)
        field = field + 0.003 * waves(generator, self.points, 0.03)
        coverage = _smoothstep(field, 0.005) * (0.15 if bald else 1.0)
        tousled = 1 + 0.25 * waves(generator, self.points, 0.012)
        colours += coverage[:, None] * (hair * tousled[:, None] - colours)
        thickness = 0.0 if bald else generator.choice([0.002, 0.012, 0.025, 0.04])
        bulk = thickness * _smoothstep(field - 0.004, 0.03) * self.hair_volume
        bulk = bulk * (1 + 0.2 * waves(generator, self.points, 0.05))
        long_hair = bool(not bald and generator.random() < 0.4)
        return Appearance(
            colours=np.clip(colours, 0.0, 1.0).astype(np.float32),
            hair_thickness=bulk.astype(np.float32),
            hair_coverage=coverage.astype(np.float32),
            hair_colour=hair,
            hairs=self._hairs(generator, hair),
            long_hair=long_hair,
            hair_over_face=long_hair and bool(generator.random() < 0.7),
        )

    def _hairs(
        self, generator: np.random.Generator, colour: Float[np.ndarray, "3"]
    ) -> tuple[Hairs, ...]:
        strokes = []
        dark = colour * 0.7
        opacity = generator.uniform(0.25, 0.9)
        for ids, end in zip(self.brows, self.brow_ends, strict=True):
            roots = ids[generator.integers(0, len(ids), 90)]
            outward = end - self.points[roots]
            length = np.linalg.norm(outward, axis=1, keepdims=True)
            reach = np.minimum(length, 0.006 * generator.uniform(0.7, 1.2))  # none beyond the end
            tips = outward / np.maximum(length, 1e-6) * reach + [0.0, 0.001, 0.0]
            tips = tips + generator.normal(0, 0.001, (90, 3))
            strokes.append(Hairs(roots, tips, dark, 0.0008, opacity))
        opacity = generator.uniform(0.1, 0.9)
        for ids in self.lashes:
            roots = ids[generator.integers(0, len(ids), 26)]
            tips = np.array([0.0, 0.0015, 0.003]) + generator.normal(0, 0.001, (26, 3))
            strokes.append(Hairs(roots, tips, dark * 0.6, 0.0008, opacity))
        return tuple(strokes)


_BROWS = (slice(17, 22), slice(22, 27))
"""Landmarks of the subject's right and left brow."""
_BELOW_EDGE = np.array([0.0, 0.002, 0.002, 0.002, 0.0])
"""From a brow's landmarks down to the middle of its hair [m]: the inner three lie on its edge."""
_LIDS = (slice(36, 40), slice(42, 46))
"""Landmarks of the upper lids."""


def waves(
    generator: np.random.Generator, points: Float[np.ndarray, "V 3"], length: float
) -> Float[np.ndarray, " V"]:
    """Sum of sines of random direction and phase: unit variance, wavelength `length` [m]."""
    total = np.zeros(len(points), np.float32)
    for _ in range(4):
        direction = generator.normal(0, 1, 3)
        direction *= 2 * np.pi / (length * np.linalg.norm(direction))
        total += np.sin(points @ direction.astype(np.float32) + generator.uniform(0, 2 * np.pi))
    return total / np.sqrt(2.0)


def _interpolate(colours: Float[np.ndarray, "n 3"], t: float) -> Float[np.ndarray, "3"]:
    """Linear interpolation in a table of colours at t in [0, 1]."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(t, stops, channel) for channel in colours.T])


def _smoothstep(field: Float[np.ndarray, " V"], width: float) -> Float[np.ndarray, " V"]:
    """0 below 0, 1 above `width`, cubic between."""
    t = np.clip(field / width, 0, 1)
    return t * t * (3 - 2 * t)


def _near_polyline(
    points: Float32[np.ndarray, "V 3"],
    allowed: Bool[np.ndarray, " V"],
    line: Float32[np.ndarray, "n 3"],
    radius: float,
) -> Int[np.ndarray, " m"]:
    """Allowed vertices within `radius` [m] of a polyline; the nearest ones if fewer than 8."""
    position = np.linspace(0, len(line) - 1, 40)
    dense = np.stack([np.interp(position, np.arange(len(line)), axis) for axis in line.T], axis=1)
    gaps = np.linalg.norm(points[:, None] - dense[None], axis=2)
    gaps[~allowed] = np.inf
    near = np.flatnonzero(gaps.min(axis=1) < radius)
    return near if len(near) >= 8 else np.unique(gaps.argmin(axis=0))
