"""Dense points in the loss: zero for the movement that made them, and their distance else."""

import pytest
import torch

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import LossWeights
from mica_ext.expression.crop_camera import anchor_of, crop_view
from mica_ext.expression.training.losses import Truth, expression_loss, project_to_crop
from mica_ext.expression.training.skin_points import SkinPoints

RIGHT_CHEEK, LEFT_CHEEK, CHIN, NOSE_TIP = 50, 280, 152, 4


@pytest.fixture(scope="module")
def head():
    return load_head("anthro")


@pytest.fixture(scope="module")
def skin(head):
    return SkinPoints(HeadDecoder(head))


def case(head, skin, yaw):
    """A smile seen from the side by `yaw`, and the points that a crop of it shows."""
    expression = torch.zeros(1, head.expression_count)
    expression[:, head.expression_names.index("mouthSmileLeft")] = 0.8
    zero = torch.zeros(1, 3)
    pose = torch.tensor([[0.0, yaw, 0.0]])
    movement = BranchOutput(expression, zero, zero, zero, pose, zero, zero[:, :0])
    shape = torch.zeros(1, head.shape_count)
    parameters = HeadParameters.zeros(head)._replace(expression=expression)
    mesh = HeadDecoder(head)(parameters)
    view = crop_view(movement.crop_pose, movement.crop_camera)
    anchor = anchor_of(mesh.landmarks)
    seen = project_to_crop(skin(mesh.vertices), anchor, view)
    marks = project_to_crop(mesh.landmarks, anchor, view)
    zeros = torch.zeros(1, 68)
    truth = Truth(shape, movement, marks, zeros, torch.zeros(1), seen, torch.ones(1, 468))
    return movement, truth


def test_points_lie_where_their_names_say(head, skin):
    mesh = HeadDecoder(head)(HeadParameters.zeros(head))
    points = 1000 * skin(mesh.vertices)[0]
    marks = 1000 * mesh.landmarks[0]
    assert (points[NOSE_TIP] - marks[30]).norm() < 8
    assert (points[CHIN] - marks[8]).norm() < 15
    assert points[RIGHT_CHEEK, 0] == pytest.approx(-float(points[LEFT_CHEEK, 0]), abs=2)
    assert points[RIGHT_CHEEK, 0] < -20


def test_the_loss_is_the_distance_of_points_in_half_crops(head, skin):
    loss = expression_loss(head, LossWeights())
    movement, truth = case(head, skin, 0.0)
    assert float(loss(movement, truth).dense) < 2e-3
    aside = movement._replace(crop_camera=torch.tensor([[0.0, 0.1, 0.0]]))
    assert float(loss(aside, truth).dense) == pytest.approx(0.1, abs=2e-3)
    rest = movement._replace(expression=0 * movement.expression)
    assert float(loss(rest, truth).dense) > 3e-3
    unknown = truth._replace(dense_confidence=torch.zeros(1, 468))
    assert float(loss(aside, unknown).dense) == 0
    assert float(expression_loss(head, LossWeights(dense=0.0))(aside, truth).dense) == 0


def test_skin_that_is_turned_away_does_not_count(head, skin):
    loss = expression_loss(head, LossWeights())
    movement, truth = case(head, skin, 1.2)  # the right cheek is in front
    assert truth.dense_px is not None
    moved = []
    for point in (LEFT_CHEEK, RIGHT_CHEEK):
        places = truth.dense_px.clone()
        places[0, point] += 50
        moved.append(float(loss(movement, truth._replace(dense_px=places)).dense))
    plain = float(loss(movement, truth).dense)
    assert moved[0] == pytest.approx(plain)
    assert moved[1] > plain + 1e-3
