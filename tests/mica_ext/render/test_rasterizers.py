"""PyTorch3D's rasteriser in the renderer: against the numba one, by a stand-in of its interface."""

import sys

import numpy as np
import pytest
import torch
from helpers import pytorch3d_stand_in
from helpers.mica_toy import toy_head

from eval_now.geometry.raster import rasterize
from mica_ext.render.overlay import three_views
from mica_ext.render.rasterizers import Pytorch3dRasterizer, choose_rasterizer, ndc
from mica_ext.render.views import View, portrait_view, screen_points

CPU = torch.device("cpu")


@pytest.fixture
def pytorch3d(monkeypatch):
    pytorch3d_stand_in.install(monkeypatch)
    return Pytorch3dRasterizer(CPU)


def test_ndc_of_the_corners_of_a_wide_image():
    """PyTorch3D: +x left, +y up, the shorter side from -1 to 1, borders at pixel edges."""
    corners = np.array([[-0.5, -0.5, 1], [199.5, -0.5, 2], [199.5, 99.5, 3], [99.5, 49.5, 4]])
    np.testing.assert_allclose(
        ndc(corners, 100, 200), [[2, 1, 1], [-2, 1, 2], [-2, -1, 3], [0, 0, 4]], atol=1e-12
    )


@pytest.mark.parametrize(("height", "width"), [(48, 48), (40, 64), (64, 40)])
def test_pixels_are_those_of_the_numba_raster(pytorch3d, height, width):
    head = toy_head(2)
    screen = screen_points(portrait_view(head.template, 0.5, height, width), head.template)
    ours, theirs = (draw(screen, head.triangles, height, width) for draw in (rasterize, pytorch3d))
    same = ours.triangles == theirs.triangles
    assert same.mean() > 0.995  # the rest lies on edges
    assert (ours.triangles >= 0).mean() > 0.2
    hit = same & (ours.triangles >= 0)
    np.testing.assert_allclose(theirs.barycentric[hit], ours.barycentric[hit], atol=2e-3)
    np.testing.assert_allclose(theirs.depth[hit], ours.depth[hit], rtol=1e-5)
    empty = theirs.triangles < 0
    assert np.isinf(theirs.depth[empty]).all()
    assert (theirs.barycentric[empty] == 0).all()


def test_pixels_on_an_edge_are_no_holes(pytorch3d):
    """Two triangles whose common edge runs through pixel centres."""
    square = np.array([[2, 2, 1], [12, 2, 1], [12, 12, 1], [2, 12, 1]], float)
    seen = pytorch3d(square, np.array([[0, 1, 2], [0, 2, 3]]), 16, 16).triangles
    assert (seen[2:13, 2:13] >= 0).all()
    assert (seen >= 0).sum() == 11 * 11


def test_triangles_at_the_camera_are_left_out(pytorch3d):
    screen = np.array([[1, 1, 1], [9, 1, 1], [1, 9, 1], [3, 3, -1], [np.nan, 3, -2]], float)
    triangles = np.array([[0, 1, 3], [2, 3, 4], [0, 1, 2]])
    seen = pytorch3d(screen, triangles, 12, 12)
    assert set(np.unique(seen.triangles)) == {-1, 2}
    assert (pytorch3d(screen, triangles[:2], 12, 12).triangles == -1).all()


def test_pictures_come_out_alike(pytorch3d):
    head = toy_head(2)
    ours = three_views(head, head.template, size=40)
    theirs = three_views(head, head.template, size=40, rasterizer=pytorch3d)
    assert np.abs(ours.astype(int) - theirs).mean() < 0.05
    assert np.ptp(ours) > 50


def test_the_cpu_never_asks_for_pytorch3d_and_cuda_does(monkeypatch, pytorch3d):
    assert choose_rasterizer(CPU) is rasterize
    cuda = torch.device("cuda", 0)
    chosen = choose_rasterizer(cuda)
    assert isinstance(chosen, Pytorch3dRasterizer)
    assert chosen.device == cuda
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", None)
    assert choose_rasterizer(cuda) is rasterize


@pytest.mark.gpu
def test_the_real_one_agrees_with_the_numba_raster():
    pytest.importorskip("pytorch3d")
    head = toy_head(4)
    view = View(1400.0, np.array([319.5, 239.5]), np.array([0.0, 0.0, -0.6]), np.eye(3))
    screen = screen_points(view, head.template)
    draw = choose_rasterizer(torch.device("cuda"))
    assert isinstance(draw, Pytorch3dRasterizer)
    ours, theirs = (f(screen, head.triangles, 480, 640) for f in (rasterize, draw))
    same = ours.triangles == theirs.triangles
    assert same.mean() > 0.995
    hit = same & (ours.triangles >= 0)
    np.testing.assert_allclose(theirs.depth[hit], ours.depth[hit], rtol=1e-4)
