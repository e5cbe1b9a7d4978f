"""Rendered heads at any yaw with the teacher's 478 points.

The teacher reads each head from the front, where it is good; its points are laid on the surface of
the head and follow it when it turns. So profiles have exact points in the teacher's convention.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Shaped
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from eval_now.geometry.raster import rasterize
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.sampling import sample_head
from mica_ext.landmarks.distillation.face_store import FaceStore, LabelledFace, make_store
from mica_ext.landmarks.distillation.labels import MIN_LOGIT, teacher_points
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from mica_ext.render.shading import STUDIO
from mica_ext.render.views import View, screen_points
from pacofr.faces.face_mesh.network import FaceMeshNetwork
from pacofr.faces.landmarks68 import five_points, inter_ocular
from pacofr.utils.progress import track

PICTURE_PX = 256
FRONT_PX = 512
"""Side of the frontal picture that the teacher reads."""
FRONT_DISTANCE = 1.2
"""Of its camera [m]."""
SUBSAMPLES = 4
"""Of that picture's pixels, when its points are laid on the surface."""
MAX_YAW = 95.0
ANY_YAW_PROBABILITY = 0.7
YAW_SIGMA, PITCH_SIGMA, ROLL_SIGMA = 25.0, 9.0, 9.0
"""Of the other heads' yaw, and of all pitches and rolls [degrees]."""
VISIBLE_DEPTH = 0.006
"""A point farther than this behind what its pixel shows is hidden [m]."""
BACKDROP = 150


class SurfacePoints(NamedTuple):
    """Points that move with a mesh."""

    triangles: Int32[np.ndarray, " n"]
    barycentric: Float[np.ndarray, "n 3"]

    def on(
        self, vertices: Float[np.ndarray, "V 3"], triangles: Int32[np.ndarray, "F 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """Where they lie on a posed mesh."""
        corners = vertices[triangles[self.triangles]]
        return np.einsum("nk,nkd->nd", self.barycentric, corners)


def rendered_heads(head: HeadModel, teacher: FaceMeshNetwork, count: int, seed: int) -> FaceStore:
    """`count` different heads in pictures of 256 pixels; the same ones for the same seed."""
    front = SyntheticFaces(head, seed=seed, size=FRONT_PX)
    turned = SyntheticFaces(head, seed=seed, size=PICTURE_PX)
    faces = (
        _rendered_head(front, turned, teacher, np.random.default_rng([seed, index]))
        for index in track(range(count), "rendered heads")
    )
    return make_store([face for face in faces if face is not None])


def _rendered_head(
    front: SyntheticFaces,
    turned: SyntheticFaces,
    teacher: FaceMeshNetwork,
    rng: np.random.Generator,
) -> LabelledFace | None:
    head = front.head
    still = torch.zeros(1, 3)
    parameters = sample_head(rng, head)._replace(global_pose=still, neck_pose=still)
    appearance_seed = int(rng.integers(2**31))
    points = _points_from_the_front(front, teacher, parameters, appearance_seed)
    if points is None:
        return None
    yaw = rng.uniform(-1, 1) * MAX_YAW
    if rng.random() >= ANY_YAW_PROBABILITY:
        yaw = rng.normal(0, YAW_SIGMA)
    angles = [rng.normal(0, ROLL_SIGMA), rng.normal(0, PITCH_SIGMA), yaw]
    rotation = Rotation.from_euler("ZXY", angles, degrees=True).as_rotvec()
    pose = torch.from_numpy(rotation.astype(np.float32)[None])
    with torch.inference_mode():
        mesh = turned.decoder(parameters._replace(global_pose=pose))
    vertices, landmarks = mesh.vertices[0].numpy(), mesh.landmarks[0].numpy()
    distance = float(np.exp(rng.uniform(np.log(0.4), np.log(2.5))))
    camera = _camera(
        landmarks, PICTURE_PX, distance, rng.uniform(0.38, 0.5), rng.normal(0, 0.03, 2)
    )
    view = View.from_camera(camera)
    landmarks_px = project(camera, mesh.landmarks)[0].numpy()
    appearance = turned.appearances.sample(np.random.default_rng(appearance_seed))
    picture = turned.paint(rng, vertices, landmarks_px, view, appearance)
    screen = screen_points(view, points.on(vertices, head.triangles))
    visible = _visible(screen, screen_points(view, vertices), head.triangles)
    scale = float(camera.focal_px[0]) / distance
    in_picture = np.column_stack([screen[:, :2], scale * (screen[:, 2] - screen[:, 2].mean())])
    return LabelledFace(picture, in_picture, np.full((5, 2), np.nan), visible)


def _points_from_the_front(
    faces: SyntheticFaces,
    teacher: FaceMeshNetwork,
    parameters: HeadParameters,
    appearance_seed: int,
) -> SurfacePoints | None:
    """The teacher's points on the surface; None where it sees no face."""
    with torch.inference_mode():
        mesh = faces.decoder(parameters)
    vertices, landmarks = mesh.vertices[0].numpy(), mesh.landmarks[0].numpy()
    camera = _camera(landmarks, FRONT_PX, FRONT_DISTANCE, 0.55, np.zeros(2))
    view = View.from_camera(camera)
    landmarks_px = project(camera, mesh.landmarks)[0].numpy()
    appearance = faces.appearances.sample(np.random.default_rng(appearance_seed))
    backdrop = np.full((FRONT_PX, FRONT_PX, 3), BACKDROP, np.uint8)
    eyes_px = float(inter_ocular(landmarks_px[None])[0])
    picture = faces.draw_head(backdrop, vertices, eyes_px, view, appearance, STUDIO)
    points, logit, _ = teacher_points(teacher, picture, five_points(landmarks_px))
    if logit < MIN_LOGIT:
        return None
    return _lift(points[:, :2], screen_points(view, vertices), faces.head.triangles)


def _camera(
    landmarks: Float[np.ndarray, "68 3"],
    size: int,
    distance: float,
    share: float,
    offset: Float[np.ndarray, "2"],
) -> Camera:
    """The landmarks fill `share` of a square picture, its middle off by `offset` of the side."""
    low, high = landmarks.min(0), landmarks.max(0)
    extent = max(float((high - low)[:2].max()), 0.1)
    focal = share * size * distance / extent
    shift = offset * [1, -1] * size * distance / focal
    translation = np.append(shift, -distance) - (low + high) / 2
    return Camera(
        torch.tensor([focal], dtype=torch.float32),
        torch.full((1, 2), (size - 1) / 2),
        torch.tensor(translation[None], dtype=torch.float32),
    )


def _lift(
    points: Float[np.ndarray, "n 2"],
    screen: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
) -> SurfacePoints:
    """The surface behind points of the frontal picture; beside the head its nearest pixel."""
    fine = np.column_stack([(screen[:, :2] + 0.5) * SUBSAMPLES - 0.5, screen[:, 2]])
    side = FRONT_PX * SUBSAMPLES
    raster = rasterize(fine, triangles, side, side)
    pixels = np.clip(np.rint((points + 0.5) * SUBSAMPLES - 0.5), 0, side - 1).astype(int)
    beside = raster.triangles[pixels[:, 1], pixels[:, 0]] < 0
    if beside.any():
        rows, columns = np.nonzero(raster.triangles >= 0)
        every = max(1, len(rows) // 60_000)
        covered = np.column_stack([columns, rows])[::every]
        pixels[beside] = covered[KDTree(covered).query(pixels[beside])[1]]
    at = pixels[:, 1], pixels[:, 0]
    return SurfacePoints(raster.triangles[at], raster.barycentric[at].astype(np.float64))


def _visible(
    points: Shaped[np.ndarray, "n 3"],
    screen: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
) -> Bool[np.ndarray, " n"]:
    raster = rasterize(screen, triangles, PICTURE_PX, PICTURE_PX)
    columns, rows = np.clip(np.rint(points[:, :2]), 0, PICTURE_PX - 1).astype(int).T
    return points[:, 2] < raster.depth[rows, columns] + VISIBLE_DEPTH
