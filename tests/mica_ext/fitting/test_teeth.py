"""Shut and open jaws by the picture between the lips, on rendered heads whose jaws are known."""

import numpy as np
import pytest
import torch
from helpers.anchored_points import points_of

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.fitting.teeth import jaw_limits, jaw_limits_of_faces, look_between_lips
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from mica_ext.render.shading import render
from mica_ext.render.views import View

CAMERA = Camera(
    torch.tensor([900.0]), torch.tensor([[111.5, 111.5]]), torch.tensor([[0.0, 0.035, -0.9]])
)
BOTH = ("Left", "Right")
LIPS = {f"{name}{side}": 0.6 for name in ("mouthUpperUp", "mouthLowerDown") for side in BOTH}
SMILE = {f"mouthSmile{side}": 0.7 for side in BOTH}


@pytest.fixture(scope="module")
def anthro():
    return HeadDecoder(load_head("anthro"))


def picture(decoder, **weights):
    """The painted head with these weights, 224 px, and its points in the picture."""
    pose = arkit(weights, decoder.head.expression_names)
    zero = np.zeros(3, np.float32)
    shape = np.zeros(decoder.head.shape_count, np.float32)
    rows = (shape, pose.expression, zero, zero, *pose[1:])
    head = HeadParameters(*(torch.from_numpy(row)[None] for row in rows))
    drawn = render(
        decoder(head).vertices[0].numpy(),
        decoder.head.triangles,
        View.from_camera(CAMERA),
        np.full((224, 224, 3), 120, np.uint8),
        colours=decoder.head.colours,
    ).picture
    crop = torch.from_numpy(drawn).permute(2, 0, 1)[None].float() / 255
    return crop, project(CAMERA, points_of(decoder, head))


@pytest.mark.parametrize("grey", [0.0, 0.8, 1.0])
def test_teeth_that_fill_the_mouth_hold_the_jaw(anthro, grey):
    """With red lips, with pale ones, without any colour."""
    crop, points = picture(anthro, **LIPS, **SMILE)
    crop = torch.lerp(crop, crop.mean(1, keepdim=True).expand_as(crop), grey)
    assert jaw_limits(crop, points) < 0.25


def test_hidden_mouths_leave_it_free(anthro):
    """Points count in the photo, in which the crop is half as large and moved."""
    crop, points = picture(anthro, **LIPS, **SMILE)
    to_photo = torch.tensor([[[0.5, 0.0, 30.0], [0.0, 0.5, 80.0]]])
    in_photo = points * 0.5 + torch.tensor([30.0, 80.0])
    seen, hidden = (
        jaw_limits_of_faces(crop, to_photo, in_photo, torch.tensor([share])) for share in (0.9, 0.3)
    )
    torch.testing.assert_close(seen, jaw_limits(crop, points))
    assert hidden == 1


@pytest.mark.parametrize("weights", [{"jawOpen": 0.5, **SMILE}, {"jawOpen": 0.6, **LIPS}])
def test_a_gap_below_the_teeth_leaves_it_free(anthro, weights):
    assert jaw_limits(*picture(anthro, **weights)) > 0.9


def test_a_mouth_without_teeth_leaves_it_free(anthro):
    crop, points = picture(anthro, **LIPS, **SMILE)
    mouth = crop[:, :, 100:]
    bright = (mouth.amin(1, keepdim=True) > 0.45) & (mouth.amax(1, keepdim=True) > 0.6)
    tongue = torch.tensor([0.62, 0.32, 0.30])[:, None, None]
    crop[:, :, 100:] = torch.where(bright, tongue, mouth)
    assert jaw_limits(crop, points) > 0.9


def test_the_gap_is_the_share_of_the_mouth_below_the_teeth():
    """A drawn mouth: teeth in the upper two thirds between the lips, dark below."""
    crop = torch.full((1, 3, 120, 120), 0.5)
    crop[:, 0] = 0.7
    crop[:, :, 60:80] = 0.95
    crop[:, :, 80:90] = 0.05
    points = torch.zeros(1, 478, 2)
    ends = ((80, 88, 0), (81, 178, 0), (82, 87, 84), (13, 14, 17), (312, 317, 314))
    for number, (above, below, outside) in enumerate((*ends, (311, 402, 0), (310, 318, 0))):
        x = 40.0 + 6 * number
        points[0, above], points[0, below] = torch.tensor([x, 59.5]), torch.tensor([x, 89.5])
        if outside:
            points[0, outside] = torch.tensor([x, 103.5])
    points[0, 33], points[0, 263] = torch.tensor([10.0, 20.0]), torch.tensor([110.0, 20.0])
    seen = look_between_lips(crop, points)
    assert abs(float(seen.gap_share) - 1 / 3) < 0.05
    assert abs(float(seen.lips_apart) - 0.30) < 1e-3
    assert seen.contrast > 0.1
