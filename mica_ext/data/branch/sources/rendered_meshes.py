"""Registered meshes as pictures: painted heads in random light, pose and surroundings."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mica_ext.data.branch.alignment import CameraPose, align_picture, turned_vertices
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.branch.sources.fitted_subject import FittedFrame, FittedSubject
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.sampling import sample_camera, sample_head_rotation
from mica_ext.models.projection import project
from mica_ext.render.views import View
from pacofr.faces.landmarks68 import five_points

RENDER_PX = 400
"""Side of the picture that is rendered before alignment."""


def render_frame(
    subject: FittedSubject,
    frame: FittedFrame,
    faces: SyntheticFaces,
    key: tuple[int, ...],
    count: int,
) -> Iterator[BranchSample]:
    """`count` samples of a frame; the same ones for the same `key`."""
    for number in range(count):
        generator = np.random.default_rng([faces.seed, *key, number])
        rotation = Rotation.from_rotvec(sample_head_rotation(generator)).as_matrix()
        posed = turned_vertices(frame.vertices, frame.root, frame.rotation, rotation)
        vertices = posed.astype(np.float32)
        landmarks = subject.landmarks(vertices).astype(np.float32)
        camera = sample_camera(generator, landmarks, faces.size)
        points = project(camera, torch.from_numpy(landmarks)[None])[0].numpy()
        appearance = faces.appearances.sample(generator)
        picture = faces.paint(generator, vertices, points, View.from_camera(camera), appearance)
        aligned = align_picture(picture, five_points(points))
        seen = CameraPose(
            rotation,
            float(camera.focal_px[0]),
            camera.centre_px[0].double().numpy(),
            camera.translation[0].double().numpy(),
        )
        source = f"rendered {subject.name}/{frame.sequence}/{frame.frame} {number}"
        yield subject.sample(frame, aligned, seen, source)
