"""Turning a photographed face in depth, as 300W-LP does (Zhu et al. 2016, "Face Alignment Across
Large Poses"): its picture is laid on the points' surface and on a sheet around it, and rotated.
"""

import cv2
import numpy as np
from jaxtyping import Float, Int32
from scipy.spatial import Delaunay

from eval_now.geometry.raster import rasterize
from mica_ext.landmarks.distillation.face_store import LabelledFace
from mica_ext.landmarks.distillation.face_surface import FaceSurface, clockwise
from pacofr.faces.face_mesh.region import crop_region, region_of_points
from pacofr.faces.face_mesh.topology import FACE_OVAL, SKIN_POINTS

CANVAS = 208
"""Side of the turned picture [px]."""
CANVAS_PER_BOX = 1.75
RINGS = ((1.18, 0.22), (1.45, 0.5))
"""Rings of the sheet around the face: size over the contour's, depth behind it over the box."""
BACKGROUND_DEPTH = 0.9
PIVOT_DEPTH = 0.1
"""Of the axis behind the contour's mean depth, over the box."""


def turn_face(face: LabelledFace, surface: FaceSurface, yaw: float, pitch: float) -> LabelledFace:
    """The face upright in a picture of `CANVAS` pixels, turned by these angles [rad].

    The detector's points of the result are NaN: nobody has looked there.
    """
    region = region_of_points(face.points[:, :2], CANVAS_PER_BOX)
    matrix, scale = region.to_crop(CANVAS), CANVAS / region.side
    picture = crop_region(face.picture, region, CANVAS)
    points = np.column_stack(
        [face.points[:, :2] @ matrix[:, :2].T + matrix[:, 2], scale * face.points[:, 2]]
    )
    sheet, border = _sheet(points)
    contour = points[FACE_OVAL, 2].mean()
    pivot = np.append(points[:SKIN_POINTS, :2].mean(0), contour + PIVOT_DEPTH * _box())
    rotation = _rotation(yaw, pitch)

    def turned(xyz: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return (xyz - pivot) @ rotation.T + pivot

    before = np.concatenate([points[:SKIN_POINTS], sheet, border])
    after = np.concatenate([turned(points[:SKIN_POINTS]), turned(sheet), border])
    triangles = np.concatenate([surface.triangles, _surroundings(before[:, :2])])
    picture = _warp(picture, before[:, :2], after, triangles)
    unread = np.full((5, 2), np.nan)
    return LabelledFace(picture, turned(points), unread, face.visible)


def _box() -> float:
    return CANVAS / CANVAS_PER_BOX


def _rotation(yaw: float, pitch: float) -> Float[np.ndarray, "3 3"]:
    about_y, about_x = (
        cv2.Rodrigues(np.array([0, yaw, 0.0]))[0],
        cv2.Rodrigues(np.array([pitch, 0, 0.0]))[0],
    )
    return about_y @ about_x


def _sheet(
    points: Float[np.ndarray, "478 3"],
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "n 3"]]:
    """Rings around the face that turn with it, and points of the canvas' border that do not."""
    contour, centre = points[FACE_OVAL][::2], points[:SKIN_POINTS, :2].mean(0)
    mean_depth = points[FACE_OVAL, 2].mean()
    rings = []
    for size, behind in RINGS:
        ring = contour.copy()
        ring[:, :2] = centre + size * (contour[:, :2] - centre)
        ring[:, 2] = mean_depth + 0.6 * np.maximum(contour[:, 2] - mean_depth, 0) + behind * _box()
        rings.append(ring)
    ticks = np.linspace(0, CANVAS - 1, 6)
    edge = [(x, y) for x in ticks for y in ticks if {x, y} & {ticks[0], ticks[-1]}]
    depth = np.full(len(edge), mean_depth + BACKGROUND_DEPTH * _box())
    return np.concatenate(rings), np.column_stack([np.array(edge), depth])


def _surroundings(points: Float[np.ndarray, "n 2"]) -> Int32[np.ndarray, "F 3"]:
    """Triangles between the contour and the canvas' border."""
    ring = np.concatenate([FACE_OVAL, np.arange(SKIN_POINTS, len(points))])
    triangles = ring[Delaunay(points[ring]).simplices]
    outside = (triangles >= SKIN_POINTS).any(1)
    return clockwise(triangles[outside], points)


def _warp(
    picture: np.ndarray,
    before: Float[np.ndarray, "n 2"],
    after: Float[np.ndarray, "n 3"],
    triangles: Int32[np.ndarray, "F 3"],
) -> np.ndarray:
    """Draw the surface with the texture that its points have in `picture`."""
    screen = after - [0, 0, after[:, 2].min() - 1]
    raster = rasterize(screen, triangles, CANVAS, CANVAS, perspective=False)
    corners = np.moveaxis(triangles[np.maximum(raster.triangles, 0)], 2, 0)
    weights = np.moveaxis(raster.barycentric, 2, 0)
    x, y = (
        weights[0] * axis[corners[0]]
        + weights[1] * axis[corners[1]]
        + weights[2] * axis[corners[2]]
        for axis in before.astype(np.float32).T
    )
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
