"""The mean person's frontal photo, and a head posed to its features: where points meet skin."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mica_ext.fitting.geometry.jacobians import Observations
from mica_ext.fitting.geometry.pose import Pose, perspective_pose, pose_step, scaled_pose

# fmt: off
SAME_FEATURES = np.array([
    (33, 36), (160, 37), (158, 38), (133, 39), (153, 40), (144, 41),
    (362, 42), (385, 43), (387, 44), (263, 45), (373, 46), (380, 47),
    (4, 30), (2, 33), (61, 48), (291, 54), (0, 51), (17, 57), (13, 62), (14, 66),
])
# fmt: on
"""Points of Face Mesh and the iBUG landmarks at the same features.

Brows, nose wings and the contour are left out: there the two conventions differ.
"""
DISTANCE = 1.0
"""Of the camera [m]."""
STEPS = 8
SIGMA, ROBUST_THRESHOLD = 0.02, 4.0
"""Of the features, in distances of the outer eye corners, and the scale of their Cauchy weights."""


class MeanPicture(NamedTuple):
    """A frontal camera whose pixel is the outer eye corners' distance; y down."""

    pose: Pose
    observations: Observations
    """The mean person's 478 points."""

    def project(
        self, points: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, " n"]]:
        """Head points [m] in the picture, and how far they are from the camera [m]."""
        camera_points = points @ self.pose.rotation[0].T + self.pose.translation[0]
        distance = -camera_points[:, 2]
        scale = self.observations.focal_px[0] / distance
        return camera_points[:, :2] * [1, -1] * scale[:, None], distance

    def unproject(
        self, pixels: Float64[np.ndarray, "n 2"], distance: Float64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n 3"]:
        """Head points [m] seen there, that far from the camera [m]."""
        aside = pixels * [1, -1] * (distance / self.observations.focal_px[0])[:, None]
        camera_points = np.column_stack([aside, -distance])
        return (camera_points - self.pose.translation[0]) @ self.pose.rotation[0]


def mean_picture(
    landmarks: Float64[np.ndarray, "68 3"], mean: Float64[np.ndarray, "478 2"]
) -> MeanPicture:
    """Pose the landmarks of a neutral head [m] to the mean person's points.

    Args:
        landmarks: iBUG, of the neutral head.
        mean: the points from the front, y down, in distances of the outer eye corners.
    """
    features, head_points = mean[SAME_FEATURES[:, 0]], landmarks[SAME_FEATURES[:, 1]]
    start = scaled_pose(head_points, features[None], np.ones(len(features)))
    centre, distance = np.zeros((1, 2)), np.full(1, DISTANCE)
    pose = perspective_pose(start, distance, centre)
    observations = Observations(features[None], centre, start.scale * distance)
    sigma = np.full((1, len(features)), SIGMA)
    for _ in range(STEPS):
        pose = pose_step(pose, head_points, observations, sigma, ROBUST_THRESHOLD)
    return MeanPicture(pose, observations._replace(points_px=mean[None]))
