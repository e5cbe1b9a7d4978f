"""Crops and cameras: known points keep their places, both ways."""

import cv2
import numpy as np
import pytest
import torch

from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from mica_ext.preprocess.crop import arcface_input, encoder_input, move_points
from mica_ext.render.views import View, screen_points
from pacofr.faces.align import ARCFACE_POINTS_112


def turned(points, angle, scale, shift):
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + shift


FRONTAL = ARCFACE_POINTS_112 - ARCFACE_POINTS_112.mean(axis=0)


def dotted_photo(spots, radius):
    photo = np.zeros((700, 800, 3), np.uint8)
    for x, y in spots:
        yy, xx = np.mgrid[:700, :800]
        photo |= np.uint8(255 * (np.hypot(xx - x, yy - y) < radius))[:, :, None]
    return photo


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_a_spot_of_the_photo_is_found_in_the_crop_where_the_matrix_says(angle):
    points = turned(FRONTAL, angle, 3.3, [390.0, 340.0])
    for spot in points[[0, 2, 4]]:
        photo = dotted_photo([spot], 9)
        crop = encoder_input(photo, points)
        mass = crop.crop[0]
        content = slice(26, 198)  # the canvas around the face is a constant colour
        mass = mass[content, content]
        y, x = torch.meshgrid(torch.arange(26, 198.0), torch.arange(26, 198.0), indexing="ij")
        centre = torch.stack([(x * mass).sum(), (y * mass).sum()]) / mass.sum()
        back = move_points(crop.crop_to_image, centre[None])[0]
        assert torch.dist(back, torch.tensor(spot, dtype=torch.float32)) < 0.25


def test_crop_to_image_is_a_similarity_and_inverts():
    points = turned(FRONTAL, 0.3, 2.0, [250.0, 260.0])
    crop = encoder_input(np.zeros((500, 500, 3), np.uint8), points)
    linear = crop.crop_to_image[:, :2].double()
    torch.testing.assert_close(
        linear @ linear.T, torch.det(linear) * torch.eye(2).double(), rtol=1e-5, atol=1e-6
    )
    inverse = torch.from_numpy(cv2.invertAffineTransform(crop.crop_to_image.numpy()))
    photo_points = torch.rand(9, 2) * 400
    there = move_points(inverse, photo_points)
    torch.testing.assert_close(
        move_points(crop.crop_to_image, there), photo_points, atol=1e-3, rtol=0
    )


def test_values_are_rgb_in_the_promised_ranges():
    photo = np.zeros((400, 400, 3), np.uint8)
    photo[..., 0], photo[..., 1], photo[..., 2] = 255, 51, 0
    points = turned(FRONTAL, 0.0, 2.0, [200.0, 200.0])
    crop, arcface = encoder_input(photo, points), arcface_input(photo, points)
    torch.testing.assert_close(crop.crop[:, 112, 112], torch.tensor([1.0, 0.2, 0.0]))
    torch.testing.assert_close(arcface[:, 56, 56], torch.tensor([1.0, -0.6, -1.0]))
    assert crop.crop.dtype == arcface.dtype == crop.crop_to_image.dtype == torch.float32


def test_a_point_of_the_head_lands_where_the_pinhole_says():
    camera = Camera(
        torch.tensor([1000.0, 500.0]),
        torch.tensor([[320.0, 240.0], [100.0, 90.0]]),
        torch.tensor([[0.0, 0.0, -0.5], [0.1, 0.0, -1.0]]),
    )
    points = torch.tensor([[[0.05, 0.02, 0.0]], [[0.0, -0.1, 0.5]]])
    expected = torch.tensor([[[420.0, 200.0]], [[200.0, 190.0]]])
    torch.testing.assert_close(project(camera, points), expected)


def test_the_renderer_and_the_camera_agree_on_every_pixel():
    camera = Camera(
        torch.tensor([900.0]), torch.tensor([[300.0, 200.0]]), torch.tensor([[0.02, 0.05, -0.7]])
    )
    points = torch.rand(1, 50, 3) * 0.2 - 0.1
    screen = screen_points(View.from_camera(camera), points[0].numpy())
    np.testing.assert_allclose(screen[:, :2], project(camera, points)[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(screen[:, 2], 0.7 - points[0, :, 2].numpy(), atol=1e-6)
