"""Frames of a rendered head that moves before one background, under one light."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.data.synthetic.appearance.accessories import (
    back_hair_outline,
    clothes_outline,
    shaded_hair,
)
from mica_ext.data.synthetic.appearance.painting import background, fill_polygon
from mica_ext.data.synthetic.appearance.skin_and_hair import Appearance
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.sampling import sample_lighting
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from mica_ext.render.shading import Lighting
from mica_ext.render.views import View

DISTANCE_M = 0.8
"""Camera to head."""
FACE_FILL = 0.5
"""Height of the 68 landmarks over that of the picture."""
NOISE_SIGMA = 2.0
"""Of the sensor, in levels of 255; new in every frame."""
LENS_BLUR_PX = 0.6


class Scene(NamedTuple):
    """What stays the same over a clip."""

    shape: Float[torch.Tensor, "1 S"]
    appearance: Appearance
    lighting: Lighting
    wall: UInt8[np.ndarray, "H W 3"]
    clothes: UInt8[np.ndarray, "H W 3"]
    hair: UInt8[np.ndarray, "H W 3"]
    camera: Camera


class FilmedHead(SyntheticFaces):
    """A person of one seed before the camera."""

    def __init__(self, head: HeadModel, *, seed: int, width: int, height: int) -> None:
        super().__init__(head, seed=seed, size=max(width, height))
        rng = np.random.default_rng([seed, 1])
        shape = rng.standard_normal((1, head.shape_count)) * rng.uniform(0.8, 1.15)
        appearance = self.appearances.sample(rng)
        lighting = sample_lighting(rng)
        hair = shaded_hair(rng, self.size, appearance.hair_colour)[:height, :width]
        wall, clothes = (background(rng, height, width) for _ in range(2))
        shape = torch.from_numpy(shape.astype(np.float32))
        camera = self._camera(shape, width, height)
        self.scene = Scene(shape, appearance, lighting, wall, clothes, hair, camera)

    def frame(
        self, moved: HeadParameters, camera: Camera, number: int
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Picture `number` of a head, a batch of one, seen by `camera`."""
        with torch.inference_mode():
            mesh = self.decoder(moved)
            points = project(camera, mesh.landmarks)[0].numpy()
        scene, vertices, view = self.scene, mesh.vertices[0].numpy(), View.from_camera(camera)
        same = np.random.default_rng([self.seed, 2])  # outlines are those of every other frame
        eyes_px = float(np.linalg.norm(points[45] - points[36]))
        picture = scene.wall
        if scene.appearance.long_hair:
            outline = back_hair_outline(same, points, eyes_px)
            picture = fill_polygon(picture, outline, scene.hair)
        outline = clothes_outline(same, vertices, view, eyes_px)
        picture = fill_polygon(picture, outline, scene.clothes)
        picture = self.draw_head(picture, vertices, eyes_px, view, scene.appearance, scene.lighting)
        picture = cv2.GaussianBlur(picture, (0, 0), LENS_BLUR_PX)
        rng = np.random.default_rng([self.seed, 3, number])
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(NOISE_SIGMA)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)

    def _camera(self, shape: Float[torch.Tensor, "1 S"], width: int, height: int) -> Camera:
        """Looks at the face of this identity."""
        with torch.inference_mode():
            neutral = HeadParameters.zeros(self.head)._replace(shape=shape)
            landmarks = self.decoder(neutral).landmarks[0].numpy()
        low, high = landmarks.min(0), landmarks.max(0)
        middle = (low + high) / 2
        side = min(height, width)
        focal = FACE_FILL * side * DISTANCE_M / (high[1] - low[1])
        translation = np.array([-middle[0], -middle[1], -DISTANCE_M - high[2]])
        return Camera(
            torch.tensor([focal], dtype=torch.float32),
            torch.tensor([[(width - 1) / 2, (height - 1) / 2]], dtype=torch.float32),
            torch.from_numpy(translation.astype(np.float32)[None]),
        )
