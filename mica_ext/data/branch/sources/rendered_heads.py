"""Random rendered heads as samples: everything is known."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mica_ext.data.branch.alignment import CameraPose, align_picture, move_camera, rotation_vector
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.branch.sources.fitted_subject import camera_arrays
from mica_ext.data.synthetic.faces import SyntheticFaces
from pacofr.faces.landmarks68 import five_points


def rendered_heads(faces: SyntheticFaces, numbers: range) -> Iterator[BranchSample]:
    """Heads by number, each of another person."""
    for number in numbers:
        face = faces.sample(number)
        head, camera = face.parameters
        with torch.inference_mode():
            root = faces.decoder(head._replace(global_pose=torch.zeros(1, 3))).joints[0, 0]
        aligned = align_picture(face.image, five_points(face.landmarks_px))
        seen = CameraPose(
            Rotation.from_rotvec(head.global_pose[0].double().numpy()).as_matrix(),
            float(camera.focal_px[0]),
            camera.centre_px[0].double().numpy(),
            camera.translation[0].double().numpy(),
        )
        own = move_camera(seen, root.double().numpy(), aligned.from_photo)
        labels = {name: value[0].numpy() for name, value in head._asdict().items()}
        labels["global_pose"] = rotation_vector(own.rotation)
        name = f"heads-{faces.seed}-{number:07d}"
        yield BranchSample(
            picture=aligned.picture,
            five_points=aligned.five_points,
            subject=name,
            source=name,
            confidence=1.0,
            **{key: np.asarray(value, np.float32) for key, value in labels.items()},
            **camera_arrays(own),
        )
