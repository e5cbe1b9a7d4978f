"""Which rasteriser draws: PyTorch3D on CUDA where it can be imported, else the numba one."""

import importlib
import logging
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int, Int32

from eval_now.geometry.raster import MIN_DEPTH, Raster, rasterize

LOGGER = logging.getLogger(__name__)

Rasterizer = Callable[[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"], int, int], Raster]
"""(screen points, triangles, height, width) -> what each pixel shows; see `rasterize`."""
EDGE_PX = 1e-3
"""Pixel centres this near to a triangle's edge are in it [px]: PyTorch3D leaves out those on it."""


def choose_rasterizer(device: torch.device) -> Rasterizer:
    """PyTorch3D's for a CUDA device, if it is installed and works; else `rasterize`."""
    if device.type == "cuda":
        try:
            return Pytorch3dRasterizer(device)
        except (ImportError, OSError) as error:  # not there, or built for another torch
            LOGGER.info("rasterising on the CPU: PyTorch3D cannot be imported (%s)", error)
    return rasterize


class Pytorch3dRasterizer:
    """PyTorch3D's mesh rasteriser with the arguments and results of `rasterize`.

    Differences: float32 throughout; PyTorch3D leaves out triangles of less than 1e-8 of its NDC
    area, some hundredths of a pixel at usual sizes.
    """

    def __init__(self, device: torch.device) -> None:
        """Import PyTorch3D.

        Raises:
            ImportError: it is not there, or its binary part does not fit this torch.
        """
        structures = importlib.import_module("pytorch3d.structures")
        mesh = importlib.import_module("pytorch3d.renderer.mesh.rasterize_meshes")
        self.device = device
        self.meshes = structures.Meshes
        self.rasterize_meshes = mesh.rasterize_meshes

    @torch.no_grad()
    def __call__(
        self,
        screen: Float[np.ndarray, "V 3"],
        triangles: Int[np.ndarray, "F 3"],
        height: int,
        width: int,
    ) -> Raster:
        """Find the nearest triangle at each pixel centre; perspective, see `rasterize`."""
        corners = screen[triangles]
        drawn = np.flatnonzero(
            (np.isfinite(corners).all(2) & (corners[..., 2] >= MIN_DEPTH)).all(1)
        ).astype(np.int32)
        if not len(drawn):
            return rasterize(screen, triangles[:0], height, width)
        side = min(height, width)
        points = torch.from_numpy(np.ascontiguousarray(ndc(screen, height, width), np.float32))
        faces = torch.from_numpy(triangles[drawn].astype(np.int64))
        seen, depth, weights, _ = self.rasterize_meshes(
            self.meshes(verts=[points.to(self.device)], faces=[faces.to(self.device)]),
            image_size=(height, width),
            blur_radius=(2 * EDGE_PX / side) ** 2,
            faces_per_pixel=1,
            max_faces_per_bin=len(drawn),  # its default drops faces of dense meshes
            perspective_correct=True,
            clip_barycentric_coords=True,
            cull_backfaces=False,
        )
        seen = seen[0, :, :, 0].cpu().numpy()
        depth, weights = depth[0, :, :, 0].cpu().numpy(), weights[0, :, :, 0].cpu().numpy()
        hit = seen >= 0
        found: Int32[np.ndarray, "height width"] = np.full(hit.shape, -1, np.int32)
        found[hit] = drawn[seen[hit]]
        return Raster(
            found,
            np.where(hit[..., None], weights, 0).astype(np.float32),
            np.where(hit, depth, np.inf).astype(np.float32),
        )


def ndc(screen: Float[np.ndarray, "V 3"], height: int, width: int) -> Float[np.ndarray, "V 3"]:
    """Pixels to PyTorch3D's normalised device coordinates; the depth stays.

    +x is left, +y up; the image's shorter side reaches from -1 to 1, the longer one farther, and
    pixel centres lie half a pixel inside the border.
    """
    side = min(height, width)
    x, y = (width - 1 - 2 * screen[:, 0]) / side, (height - 1 - 2 * screen[:, 1]) / side
    return np.stack([np.nan_to_num(x), np.nan_to_num(y), screen[:, 2]], axis=1)
