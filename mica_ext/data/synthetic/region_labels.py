"""Which region of the face every pixel of a rendered head shows.

The regions are LaPa's classes (Liu et al. 2020), and ears and neck, for which LaPa has none. Left
and right are those of the picture, as in LaPa.
"""

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

from eval_now.geometry.raster import Raster
from flame_assets.model.head import HeadModel
from mica_ext.data.synthetic.appearance.painting import area_mask
from mica_ext.data.synthetic.appearance.skin_and_hair import Appearance, AppearanceSampler
from mica_ext.errors import UserError
from pacofr.faces.landmarks68 import INNER_LIPS, OUTER_LIPS

BACKGROUND, SKIN, LEFT_BROW, RIGHT_BROW, LEFT_EYE, RIGHT_EYE, NOSE = range(7)
UPPER_LIP, INNER_MOUTH, LOWER_LIP, HAIR, EARS, NECK = range(7, 13)
REGIONS = 13

VERTEX_REGIONS = {
    "neck": NECK,
    "right_ear": EARS,
    "left_ear": EARS,
    "nose": NOSE,
    "mouth_inside": INNER_MOUTH,
    "tongue": INNER_MOUTH,
    "upper_teeth": INNER_MOUTH,
    "lower_teeth": INNER_MOUTH,
    "right_eyeball": LEFT_EYE,
    "left_eyeball": RIGHT_EYE,
}
"""Regions of a head model, by the subject's sides; later ones overwrite earlier ones."""
HAIR_COVERAGE = 0.5
"""From which on a vertex shows hair."""
PAINTED_HAIR = 0.75
"""Brightness of the scalp, over the head's median, below which it is hair."""


def base_regions(
    head: HeadModel, appearances: AppearanceSampler, landmarks: Float32[np.ndarray, "68 3"]
) -> UInt8[np.ndarray, " V"]:
    """The region of every vertex of a head without hair.

    Args:
        head: with the regions that Anthro has.
        appearances: of that head; gives the brows.
        landmarks: of the neutral head [m].

    Raises:
        UserError: the head does not say where its lips, eyes, ears and neck are.
    """
    missing = sorted({*VERTEX_REGIONS, "lips"} - head.regions.keys())
    if missing:
        raise UserError(
            f"expected a head with the regions {', '.join(missing)}, as Anthro has them: use --head"
            " anthro"
        )
    regions = np.full(len(head.template), SKIN, np.uint8)
    for name, region in VERTEX_REGIONS.items():
        regions[head.regions[name]] = region
    lips = head.regions["lips"]
    regions[lips] = _lip_regions(head.template[lips], landmarks)
    regions[_painted_hair(head)] = HAIR
    for region, vertices in zip((LEFT_BROW, RIGHT_BROW), appearances.brows, strict=True):
        regions[vertices] = region
    return regions


def _painted_hair(head: HeadModel) -> Int[np.ndarray, " n"]:
    """Vertices of the scalp that the head's own colours show as short hair."""
    scalp = head.regions.get("scalp")
    if head.colours is None or scalp is None:
        return np.zeros(0, np.int64)
    brightness = head.colours.mean(axis=1)
    return scalp[brightness[scalp] < PAINTED_HAIR * np.median(brightness)]


def _lip_regions(
    points: Float[np.ndarray, "n 3"], landmarks: Float32[np.ndarray, "68 3"]
) -> UInt8[np.ndarray, " n"]:
    """Upper or lower lip, by the nearest landmark; corners of the mouth count for both."""
    outer, inner = landmarks[OUTER_LIPS], landmarks[INNER_LIPS]
    upper = np.concatenate([outer[1:6], inner[1:4]])
    lower = np.concatenate([outer[7:12], inner[5:8]])
    to_upper, to_lower = (
        np.linalg.norm(points[:, None] - line[None], axis=2).min(axis=1) for line in (upper, lower)
    )
    return np.where(to_upper < to_lower, UPPER_LIP, LOWER_LIP).astype(np.uint8)


def with_hair(regions: UInt8[np.ndarray, " V"], appearance: Appearance) -> UInt8[np.ndarray, " V"]:
    """The regions of a person: hair where it covers skin, ears or neck."""
    covered = (appearance.hair_coverage > HAIR_COVERAGE) & np.isin(regions, (SKIN, EARS, NECK))
    return np.where(covered, HAIR, regions).astype(np.uint8)


class LabelCanvas:
    """The region of every pixel; drawn from back to front, as the picture is."""

    def __init__(self, size: int, regions: UInt8[np.ndarray, " V"]) -> None:
        self.labels: UInt8[np.ndarray, "size size"] = np.full((size, size), BACKGROUND, np.uint8)
        self.regions = regions

    def fill(self, outline: Float[np.ndarray, "n 2"], region: int) -> None:
        """Draw a polygon [px]."""
        self.labels[area_mask(self.labels.shape, [outline]) > 127] = region

    def draw_mesh(self, raster: Raster, triangles: Int32[np.ndarray, "F 3"]) -> None:
        """Draw a rasterised mesh: of each sample the vertex it is nearest to, of each pixel most.

        Args:
            raster: a whole number of times as large as the label map.
            triangles: of the mesh.
        """
        hit = raster.triangles >= 0
        corner = raster.barycentric.argmax(axis=2)
        vertex = triangles[np.where(hit, raster.triangles, 0), corner]
        samples = len(hit) // len(self.labels)
        drawn = np.where(hit, self.regions[vertex], np.uint8(REGIONS))
        self.labels = _majority(drawn, self.labels, samples)


def _majority(
    drawn: UInt8[np.ndarray, "H W"], below: UInt8[np.ndarray, "h w"], samples: int
) -> UInt8[np.ndarray, "h w"]:
    """The most frequent region among the samples of each pixel; where none is hit, that below."""
    height, width = below.shape
    cells = drawn.reshape(height, samples, width, samples).transpose(0, 2, 1, 3)
    cells = cells.reshape(height, width, samples**2)
    counts = np.stack([(cells == region).sum(axis=2) for region in range(REGIONS + 1)], axis=2)
    most = counts.argmax(axis=2)
    return np.where(most == REGIONS, below, most).astype(np.uint8)
