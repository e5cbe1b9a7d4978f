"""Dense points of moved heads in photos."""

import torch

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.evaluation.photos import DensePoints
from mica_ext.models.projection import project
from mica_ext.models.types import Camera, FaceParameters
from pacofr.faces.face_mesh.topology import IBUG68


def test_dense_points_lie_at_the_landmarks_of_the_same_head():
    """Turned, with an open mouth: lids, nose and lips by Face Mesh's indices and by iBUG's."""
    head = load_head("anthro")
    decoder = HeadDecoder(head)
    pose = arkit({"jawOpen": 0.8, "eyeBlinkLeft": 1.0}, head.expression_names)
    parameters = HeadParameters.zeros(head)._replace(
        expression=torch.from_numpy(pose.expression)[None],
        jaw_pose=torch.from_numpy(pose.jaw_pose)[None],
        global_pose=torch.tensor([[0.1, 0.5, -0.3]]),
    )
    camera = Camera(
        torch.tensor([1200.0]), torch.tensor([[256.0, 256.0]]), torch.tensor([[0.0, 0.0, -0.9]])
    )
    dense = DensePoints(decoder).project(FaceParameters(parameters, camera))[0]
    marks = project(camera, decoder(parameters).landmarks)[0]
    unit = (marks[45] - marks[36]).norm()
    inner = slice(27, 68)
    apart = (dense[IBUG68[inner]] - marks[inner]).norm(dim=1) / unit
    assert apart.median() < 0.04
    assert apart.max() < 0.12
    opened = (dense[13] - dense[14]).norm() / unit  # inner lips
    assert opened > 0.2
