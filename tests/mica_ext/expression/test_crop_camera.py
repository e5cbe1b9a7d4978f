"""Views in the crop and in the photo: one is the other's inverse, and both project alike."""

import numpy as np
import pytest
import torch
from helpers.mica_toy import landmark_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.model.lbs import rotation_matrices
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.crop_camera import (
    CENTRE,
    SCALE,
    anchor_of,
    crop_camera,
    crop_view,
    to_crop,
    to_photo,
)
from mica_ext.expression.network import face_parameters
from mica_ext.models.projection import project
from mica_ext.models.types import AlignedFace, Camera


def similarity(angle, scale, shift):
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return torch.tensor([[[cosine, -sine, shift[0]], [sine, cosine, shift[1]]]])


def inverse(matrix):
    linear = torch.linalg.inv(matrix[..., :2])
    return torch.cat([linear, -linear @ matrix[..., 2:]], -1)


def test_nothing_read_is_the_usual_face_in_the_middle():
    view = crop_view(torch.zeros(1, 3), torch.zeros(1, 3))
    assert torch.equal(view.rotation, torch.eye(3)[None])
    assert float(view.scale) == pytest.approx(SCALE)
    assert view.anchor_px.tolist() == [[CENTRE, CENTRE]]
    torch.testing.assert_close(crop_camera(view.scale, view.anchor_px), torch.zeros(1, 3))


def test_to_photo_is_the_inverse_of_to_crop():
    torch.manual_seed(0)
    rotation = rotation_matrices(torch.tensor([[0.2, -0.7, 0.3]], dtype=torch.float64))
    anchor = torch.tensor([[0.01, -0.02, 0.08]], dtype=torch.float64)
    camera = Camera(
        torch.tensor([900.0], dtype=torch.float64),
        torch.tensor([[319.5, 239.5]], dtype=torch.float64),
        torch.tensor([[0.15, 0.1, -0.6]], dtype=torch.float64),
    )
    crop_to_image = similarity(0.4, 1.7, (150.0, 60.0))
    view = to_crop(rotation, anchor, camera, inverse(crop_to_image))
    back = to_photo(view, crop_to_image, camera.focal_px, camera.centre_px)
    torch.testing.assert_close(back.rotation, rotation)
    torch.testing.assert_close(back.anchor, anchor + camera.translation)


@pytest.mark.parametrize("angle", [0.0, 0.6, -2.0])
@pytest.mark.parametrize("place", [(0.0, 0.0), (1.5, -0.8)])
def test_a_far_head_looks_in_the_photo_as_the_crop_says(angle, place):
    """Weak perspective in the crop, moved to the photo, against the photo's own projection."""
    head = landmark_head()
    decoder = HeadDecoder(head)
    generator = torch.Generator().manual_seed(5)
    zeros = HeadParameters.zeros(head)
    output = BranchOutput(
        torch.rand(1, head.expression_count, generator=generator),
        torch.tensor([[0.2, 0.0, 0.0]]),
        torch.zeros(1, 3),
        torch.zeros(1, 3),
        torch.tensor([[0.1, 0.5, -0.2]]),
        torch.tensor([[0.1, 0.05, -0.1]]),
        torch.zeros(1, 0),
    )
    focal, distance = 40_000.0, 30.0
    height, width = 480, 640
    # the crop's middle lies at `place` [m] off the axis
    scale = focal / distance / (SCALE * np.exp(0.1))
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    target = middle + np.array([place[0], -place[1]]) * focal / distance
    turn = similarity(angle, scale, (0.0, 0.0)).float()
    shift = torch.tensor(target).float() - turn[0, :, :2] @ torch.full((2,), CENTRE)
    crop_to_image = torch.cat([turn[..., :2], shift[None, :, None]], -1)
    empty = torch.zeros(1)
    faces = AlignedFace(
        arcface=empty, crop=empty, crop_to_image=crop_to_image, points_px=empty,
        landmarks_px=empty, visibility=empty, point_error=empty, confidence=empty,
        image_size=torch.tensor([[height, width]]),
    )  # fmt: skip
    found = face_parameters(output, zeros.shape, faces, decoder, torch.tensor([focal]))
    seen = project(found.camera, decoder(found.head).landmarks[:, 17:])[0]

    local = decoder(found.head._replace(global_pose=output.crop_pose)).landmarks
    points = (local - anchor_of(local)[:, None])[0, 17:]
    crop = crop_view(output.crop_pose, output.crop_camera)
    in_crop = crop.anchor_px + crop.scale[:, None] * points[:, :2] * torch.tensor([1.0, -1.0])
    expected = in_crop @ crop_to_image[0, :, :2].T + crop_to_image[0, :, 2]
    size = float((expected.amax(0) - expected.amin(0)).max())
    assert float((seen - expected).norm(dim=-1).max()) < 0.01 * size
    assert torch.equal(found.head.shape, zeros.shape)
