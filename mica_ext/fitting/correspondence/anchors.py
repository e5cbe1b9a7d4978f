"""Where the 478 points of Face Mesh lie on a head, for any head with 68 landmarks.

In the picture of the mean person (`mean_picture`), a smooth warp takes the points to the head's own
features; the nearest spot of skin is a point's anchor, and what remains between the anchor and the
point's place is its offset. So the neutral mean head explains the mean person's photo exactly,
while each point moves with the right spot of skin. Depth is the head's; x and y are the photos'.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.spatial import KDTree
from torch import Tensor

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.fitting.correspondence.mean_picture import SAME_FEATURES, MeanPicture
from mica_ext.fitting.geometry.closest_points import closest_weights
from pacofr.faces.face_mesh.topology import INNER_LIPS, OUTER_LIPS, SKIN_POINTS

NOT_SKIN = ("eyeball", "teeth", "tongue", "mouth_inside")
"""Regions whose names contain one of these carry no points."""
WARP_SMOOTHING = 1e-3
"""Of the thin-plate warp."""
NEIGHBOURS = 48
"""Triangles tried for each point."""
DEPTH_PENALTY = 0.1
"""Cost of a spot that lies 1 m deeper, in metres of distance in the picture: the front one wins."""
LOWER_LIP = np.concatenate([OUTER_LIPS[1:10], INNER_LIPS[1:10]])
UPPER_LIP = np.concatenate([OUTER_LIPS[11:], INNER_LIPS[11:]])
OTHER_LIP_PENALTY = 1.0
"""Cost of a spot on the other lip, in outer eye corner distances."""
OPEN_JAW = 0.3
"""Rotation of the jaw that tells the lower lip from the upper [rad]."""
OPENING_SIGMAS = 3.0
"""Size of the expression that tells them apart on heads without a jaw joint."""


class PointAnchors(NamedTuple):
    """Points that move with the skin of a head."""

    triangles: Int64[np.ndarray, " L"]
    barycentric: Float64[np.ndarray, "L 3"]
    offsets: Float64[np.ndarray, "L 3"]
    """From the spot on the skin to the point, in the head's frame [m]."""
    normals: Float64[np.ndarray, "L 3"]
    """Of the neutral skin, outwards, unit length."""

    def select(self, points: Int64[np.ndarray, " n"]) -> "PointAnchors":
        """The anchors of some of the points."""
        return PointAnchors(*(values[points] for values in self))


@torch.no_grad()
def locate_points(decoder: HeadDecoder, picture: MeanPicture) -> PointAnchors:
    """Anchors of the 468 skin points on the head that `picture` shows."""
    neutral = decoder(HeadParameters.zeros(decoder.head))
    vertices = neutral.vertices[0].double().numpy()
    landmarks = decoder.frontal_landmarks(neutral.vertices)[0].double().numpy()
    points = picture.observations.points_px[0, :SKIN_POINTS]
    features, _ = picture.project(landmarks[SAME_FEATURES[:, 1]])
    warped = thin_plate_warp(points, points[SAME_FEATURES[:, 0]], features)
    pixels, depth = picture.project(vertices)
    triangles = _visible_skin(decoder, pixels)
    moving = _moves_with_jaw(decoder, vertices)
    lower_lip = np.all(moving[decoder.head.triangles[triangles]], axis=1)
    scale = picture.observations.focal_px[0] / depth.min()
    places = np.column_stack([pixels, DEPTH_PENALTY * scale * depth])
    corners = places[decoder.head.triangles[triangles]]
    found, barycentric = _nearest(warped, corners, lower_lip)
    corners = decoder.head.triangles[triangles[found]]
    spots = np.einsum("lc,lcx->lx", barycentric, vertices[corners])
    a, b, c = (vertices[corners[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = picture.unproject(points, picture.project(spots)[1]) - spots
    return PointAnchors(triangles[found], barycentric, offsets, normals)


def thin_plate_warp(
    points: Float64[np.ndarray, "n 2"],
    sources: Float64[np.ndarray, "m 2"],
    targets: Float64[np.ndarray, "m 2"],
) -> Float64[np.ndarray, "n 2"]:
    """The points moved by a smoothing thin-plate spline from sources to targets (Wahba 1990)."""

    def kernel(places: Float64[np.ndarray, "k 2"]) -> Float64[np.ndarray, "k m"]:
        square = np.square(places[:, None] - sources).sum(-1)
        return square * np.log(np.maximum(square, 1e-12)) / 2

    affine = np.column_stack([np.ones(len(sources)), sources])
    matrix = np.block(
        [
            [kernel(sources) + WARP_SMOOTHING * np.eye(len(sources)), affine],
            [affine.T, np.zeros((3, 3))],
        ]
    )
    weights = np.linalg.solve(matrix, np.concatenate([targets, np.zeros((3, 2))]))
    return np.column_stack([kernel(points), np.ones(len(points)), points]) @ weights


def _visible_skin(
    decoder: HeadDecoder, pixels: Float64[np.ndarray, "V 2"]
) -> Int64[np.ndarray, " n"]:
    """Ids of the triangles of skin that face the camera."""
    head = decoder.head
    skin = np.ones(head.vertices_count, bool)
    for name, ids in head.regions.items():
        if any(part in name for part in NOT_SKIN):
            skin[ids] = False
    a, b, c = (pixels[head.triangles[:, corner]] for corner in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    return np.flatnonzero(skin[head.triangles].all(1) & (area < 0))


def _moves_with_jaw(
    decoder: HeadDecoder, vertices: Float64[np.ndarray, "V 3"]
) -> Bool[np.ndarray, " V"]:
    """Vertices that the opening jaw lowers at least half as far as the inner lower lip."""
    parameters = HeadParameters.zeros(decoder.head)
    if decoder.head.expression_convention == "arkit":
        pose = arkit({"jawOpen": 1.0}, decoder.head.expression_names)
        parameters = parameters._replace(
            expression=torch.from_numpy(pose.expression)[None].to(parameters.expression),
            jaw_pose=torch.from_numpy(pose.jaw_pose)[None].to(parameters.jaw_pose),
        )
    elif decoder.head.skinning_weights[:, 2].any():
        parameters.jaw_pose[:, 0] = OPEN_JAW
    else:
        parameters = parameters._replace(expression=_lip_opening_expression(decoder))
    opened = decoder(parameters)
    lowered = vertices[:, 1] - opened.vertices[0].double().numpy()[:, 1]
    lips = decoder.frontal_landmarks(opened.vertices)[0, [62, 66], 1].double().numpy()
    still = decoder.frontal_landmarks(torch.from_numpy(vertices)[None].to(opened.vertices))
    upper, lower = still[0, [62, 66], 1].double().numpy() - lips
    return lowered > (upper + lower) / 2


def _lip_opening_expression(decoder: HeadDecoder) -> Float32[Tensor, "1 E"]:
    """The most probable expression, of unit normal modes, that lowers the lower lip alone."""
    modes = decoder.basis[decoder.head.shape_count :]
    upper, lower = decoder.frontal_landmarks(modes)[:, [62, 66], 1].unbind(1)
    opening = upper - lower
    return (OPENING_SIGMAS * opening / opening.norm().clamp(min=1e-12))[None]


def _nearest(
    places: Float64[np.ndarray, "468 2"],
    corners: Float64[np.ndarray, "F 3 3"],
    lower_lip: Bool[np.ndarray, " F"],
) -> tuple[Int64[np.ndarray, "468"], Float64[np.ndarray, "468 3"]]:
    """Nearest triangle in the picture and the barycentric weights of the nearest spot.

    `corners` are x, y and the cost of depth; the rings of one lip keep off the other lip.
    """
    near = np.asarray(KDTree(corners[..., :2].mean(1)).query(places, NEIGHBOURS)[1])
    weights = closest_weights(places[:, None], corners[near][..., :2])
    spots = np.einsum("lkc,lkcx->lkx", weights, corners[near])
    cost = np.linalg.norm(spots[..., :2] - places[:, None], axis=-1) + spots[..., 2]
    for points, wrong in ((UPPER_LIP, lower_lip), (LOWER_LIP, ~lower_lip)):
        cost[points] += np.where(wrong[near[points]], OTHER_LIP_PENALTY, 0.0)
    best = np.argmin(cost, axis=1)
    rows = np.arange(len(places))
    return near[rows, best], weights[rows, best]
