"""Where a picture is taken from: pinhole views, and portraits from any side."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mica_ext.models.projection import perspective
from mica_ext.models.types import Camera

PORTRAIT_DISTANCE = 1.6
"""Camera to head of `portrait_view` [m]."""


class View(NamedTuple):
    """A pinhole camera with a pose: camera point = rotation @ point + translation.

    Frames and pixels as in `mica_ext.models.projection`.
    """

    focal_px: float
    centre_px: Float[np.ndarray, "2"]
    """Principal point."""
    translation: Float[np.ndarray, "3"]
    """[m]; z is negative in front of the camera."""
    rotation: Float[np.ndarray, "3 3"]

    @classmethod
    def from_camera(cls, camera: Camera, index: int = 0) -> "View":
        """The view of one camera of a batch."""
        return cls(
            float(camera.focal_px[index]),
            camera.centre_px[index].double().cpu().numpy(),
            camera.translation[index].double().cpu().numpy(),
            np.eye(3),
        )


def camera_points(view: View, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """Points [m] in the camera's frame."""
    return vertices @ view.rotation.T + view.translation


def screen_points(view: View, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """x [px], y [px], depth [m] of points [m]; depth is along the viewing axis.

    x and y of points behind the camera are NaN.
    """
    points = camera_points(view, vertices)
    depth = -points[:, 2]
    points[:, 2] = np.where(depth > 0, points[:, 2], np.nan)
    return np.stack([*perspective(points, view.focal_px, view.centre_px), depth], axis=1)


def portrait_view(
    vertices: Float[np.ndarray, "V 3"], yaw: float, height: int, width: int, fill: float = 0.92
) -> View:
    """A view from `PORTRAIT_DISTANCE` that fits the whole head, rotated by `yaw` [rad] about y.

    Positive yaw turns the subject towards its left, the picture's right. The head takes up `fill`
    of the picture's height or width.
    """
    cosine, sine = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    rotated = vertices @ rotation.T
    low, high = rotated.min(axis=0), rotated.max(axis=0)
    centre = (low + high) / 2
    distance = PORTRAIT_DISTANCE
    extent = max((high[1] - low[1]) / height, (high[0] - low[0]) / width)
    focal = fill * (distance - (high[2] - low[2]) / 2) / extent
    translation = np.array([-centre[0], -centre[1], -distance - centre[2]])
    principal_point = np.array([(width - 1) / 2, (height - 1) / 2])
    return View(float(focal), principal_point, translation, rotation)
