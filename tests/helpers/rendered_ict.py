"""Pictures of heads, such as ICT-FaceKit, with true parameters: what fits are judged on."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from scipy.spatial.transform import Rotation

from flame_assets.arkit import arkit
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadMesh, HeadParameters
from mica_ext.data.synthetic.appearance.painting import background
from mica_ext.data.synthetic.expressions import sample_expression
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.sampling import sample_lighting
from mica_ext.fitting.geometry.rotations import matrix_to_axis_angle
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from mica_ext.render.views import View

SIZE = 512
EXTENT = 0.42
"""Of the landmarks, in sides of the picture."""
DISTANCE = (0.7, 2.0)
"""Camera to head [m]."""
PITCH_SIGMA, ROLL_SIGMA = 6.0, 6.0
"""[degrees]"""


class RenderedHead(NamedTuple):
    """A picture and its ground truth."""

    image: UInt8[np.ndarray, "512 512 3"]
    parameters: HeadParameters
    mesh: HeadMesh
    """Posed, in the head's frame turned as in the picture [m]."""
    camera: Camera


class IctRenderer:
    """Random people; each is a function of its seed, yaw and whether it makes a face."""

    def __init__(self, head: HeadModel) -> None:
        self.faces = SyntheticFaces(head, size=SIZE)

    @torch.inference_mode()
    def render(
        self,
        seed: int,
        *,
        yaw: float | None = None,
        max_yaw: float = 40.0,
        neutral: bool = False,
        weights: Mapping[str, float] | None = None,
    ) -> RenderedHead:
        """Yaw [degrees] to the subject's left; drawn up to `max_yaw` to both sides if None.

        `weights` are those of the expression, by ARKit's names; drawn if None.
        """
        head, rng = self.faces.head, np.random.default_rng([20260, seed])
        shape = rng.standard_normal(head.shape_count)
        if weights is None:
            weights = {} if neutral else sample_expression(rng, head.expression_names)
        pose = arkit(weights, head.expression_names)
        drawn_yaw = rng.uniform(-max_yaw, max_yaw)
        angles = [
            rng.normal(0, ROLL_SIGMA),
            rng.normal(0, PITCH_SIGMA),
            drawn_yaw if yaw is None else yaw,
        ]
        matrix = Rotation.from_euler("ZXY", angles, degrees=True).as_matrix()
        rotation = matrix_to_axis_angle(matrix[None])[0]
        zero = np.zeros(3)
        rows = (shape, pose.expression, rotation, zero, *pose[1:])
        parameters = HeadParameters(*(torch.from_numpy(np.float32(row)[None]) for row in rows))
        mesh = self.faces.decoder(parameters)
        camera = self._camera(rng, mesh.landmarks[0].numpy())
        image = self._paint(rng, mesh, camera)
        return RenderedHead(image, parameters, mesh, camera)

    def _camera(self, rng: np.random.Generator, landmarks: Float32[np.ndarray, "68 3"]) -> Camera:
        low, high = landmarks.min(0), landmarks.max(0)
        distance = float(rng.uniform(*DISTANCE))
        focal = EXTENT * SIZE * distance / float((high - low)[1])
        translation = np.append(np.zeros(2), -distance) - (low + high) / 2
        return Camera(
            torch.tensor([focal], dtype=torch.float32),
            torch.full((1, 2), (SIZE - 1) / 2),
            torch.from_numpy(np.float32(translation)[None]),
        )

    def _paint(self, rng: np.random.Generator, mesh: HeadMesh, camera: Camera) -> np.ndarray:
        landmarks_px = project(camera, mesh.landmarks)[0].numpy()
        return self.faces.draw_head(
            background(rng, SIZE, SIZE),
            mesh.vertices[0].numpy(),
            float(np.ptp(landmarks_px[:, 1]) * 0.7),
            View.from_camera(camera),
            self.faces.appearances.sample(rng),
            sample_lighting(rng),
        )
