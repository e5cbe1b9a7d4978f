"""Rendered heads with exact landmarks, camera and parameters: training faces without photos.

Each face is a function of (seed, index): identity, expression, gaze, pose, camera, skin, hair,
light, background and occluders are drawn from one generator seeded with both.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from eval_now.geometry.normals import vertex_normals
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.data.synthetic.appearance.accessories import (
    back_hair_outline,
    clothes_outline,
    draw_glasses,
    shaded_hair,
    side_hair_outline,
)
from mica_ext.data.synthetic.appearance.painting import (
    background,
    draw_strokes,
    fill_polygon,
    occluder_outline,
    occluder_texture,
    photograph,
)
from mica_ext.data.synthetic.appearance.skin_and_hair import Appearance, AppearanceSampler
from mica_ext.data.synthetic.region_labels import BACKGROUND, HAIR, LabelCanvas
from mica_ext.data.synthetic.sampling import sample_camera, sample_head, sample_lighting
from mica_ext.models.projection import project
from mica_ext.models.types import FaceParameters
from mica_ext.render.shading import Lighting, render
from mica_ext.render.views import View, camera_points, screen_points

HAIR_ROOT_OFFSET = 0.0006
"""Of brow and lash strokes above the skin [m]."""
HAIR_FACE_EYES = 0.09
"""Distance of the outer eye corners for which stroke widths are given [m]."""


class SyntheticFace(NamedTuple):
    """A picture of a head and its ground truth."""

    image: UInt8[np.ndarray, "size size 3"]
    landmarks_px: Float32[np.ndarray, "68 2"]
    """iBUG; some are occluded, a few may lie outside the picture."""
    parameters: FaceParameters
    """A batch of one."""


class SyntheticFaces:
    """An endless set of faces of one head model; stateless."""

    def __init__(
        self,
        head: HeadModel,
        *,
        seed: int = 0,
        size: int = 256,
        max_yaw: float | None = None,
    ) -> None:
        """Set up for one head.

        Args:
            head: whose faces are rendered.
            seed: another one, other faces.
            size: side of the pictures [px].
            max_yaw: see `sampling.sample_head_rotation` [rad].
        """
        self.head = head
        self.seed = seed
        self.size = size
        self.max_yaw = max_yaw
        self.decoder = HeadDecoder(head)
        with torch.inference_mode():
            neutral = self.decoder(HeadParameters.zeros(head))
        self.appearances = AppearanceSampler(head, neutral.landmarks[0].numpy())

    def sample(self, index: int) -> SyntheticFace:
        """Face number `index`."""
        generator = np.random.default_rng([self.seed, index])
        parameters = sample_head(generator, self.head, self.max_yaw)
        with torch.inference_mode():
            mesh = self.decoder(parameters)
        vertices = mesh.vertices[0].numpy()
        camera = sample_camera(generator, mesh.landmarks[0].numpy(), self.size)
        points = project(camera, mesh.landmarks)[0].numpy()
        appearance = self.appearances.sample(generator)
        image = self.paint(generator, vertices, points, View.from_camera(camera), appearance)
        return SyntheticFace(image, points, FaceParameters(parameters, camera))

    def paint(
        self,
        generator: np.random.Generator,
        vertices: Float32[np.ndarray, "V 3"],
        points: Float32[np.ndarray, "68 2"],
        view: View,
        appearance: Appearance,
        labels: LabelCanvas | None = None,
    ) -> UInt8[np.ndarray, "size size 3"]:
        """Render posed vertices [m] with landmarks `points` [px], and what surrounds them.

        The region of every pixel is drawn into `labels`, where it is given.
        """
        size = self.size
        picture = background(generator, size, size)
        eyes_px = float(np.linalg.norm(points[45] - points[36]))
        hair = shaded_hair(generator, size, appearance.hair_colour)
        if appearance.long_hair:
            outline = back_hair_outline(generator, points, eyes_px)
            picture = _fill(picture, outline, hair, labels, HAIR)
        outline = clothes_outline(generator, vertices, view, eyes_px)
        clothes = background(generator, size, size)
        picture = _fill(picture, outline, clothes, labels, BACKGROUND)
        lighting = sample_lighting(generator)
        picture = self.draw_head(picture, vertices, eyes_px, view, appearance, lighting, labels)
        if appearance.hair_over_face:
            for side in (points[:6], points[16:10:-1]):
                outline = side_hair_outline(generator, side, points, eyes_px)
                picture = _fill(picture, outline, hair, labels, HAIR)
        if generator.random() < 0.12:
            picture = draw_glasses(generator, picture, points, eyes_px)
        if generator.random() < 0.2:
            centre = points[generator.integers(68)] + generator.normal(0, 0.3, 2) * eyes_px
            radius = eyes_px * generator.uniform(0.15, 0.75)
            outline = occluder_outline(generator, centre, radius)
            occluder = occluder_texture(generator, size, size)
            picture = _fill(picture, outline, occluder, labels, BACKGROUND)
        return photograph(generator, picture)

    def draw_head(
        self,
        picture: UInt8[np.ndarray, "H W 3"],
        vertices: Float32[np.ndarray, "V 3"],
        eyes_px: float,
        view: View,
        appearance: Appearance,
        lighting: Lighting,
        labels: LabelCanvas | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Render the head with brows, lashes and beard over `picture`, nothing around it.

        `eyes_px` is the distance of the outer eye corners [px]; `labels` as in `paint`.
        """
        triangles = self.head.triangles
        normals = vertex_normals(vertices, triangles).astype(np.float32)
        with_hair = vertices + normals * appearance.hair_thickness[:, None]
        rendered = render(
            with_hair, triangles, view, picture, colours=appearance.colours, lighting=lighting
        )
        picture = rendered.picture
        if labels is not None:
            labels.draw_mesh(rendered.raster, triangles)
        facing = camera_points(view, vertices)
        facing = -np.einsum("vi,vi->v", facing, normals) / np.linalg.norm(facing, axis=1)
        brightness = float(picture[rendered.raster.depth[::2, ::2] < np.inf].mean() / 150.0)
        for hairs in appearance.hairs:
            visible = facing[hairs.vertices] > 0.2
            roots = vertices[hairs.vertices] + normals[hairs.vertices] * HAIR_ROOT_OFFSET
            ends = np.stack([roots, roots + hairs.offsets])[:, visible]
            starts_px, ends_px = (screen_points(view, end)[:, :2] for end in ends)
            colour = hairs.colour * min(brightness, 1.0)
            width_px = hairs.width_m * eyes_px / HAIR_FACE_EYES
            picture = draw_strokes(picture, starts_px, ends_px, colour, width_px, hairs.opacity)
        return picture


def _fill(
    picture: UInt8[np.ndarray, "size size 3"],
    outline: Float[np.ndarray, "n 2"],
    paint: UInt8[np.ndarray, "size size 3"],
    labels: LabelCanvas | None,
    region: int,
) -> UInt8[np.ndarray, "size size 3"]:
    if labels is not None:
        labels.fill(outline, region)
    return fill_polygon(picture, outline, paint)
