"""PyTorch3D's mesh rasteriser as its documentation states it, pixel by pixel in NumPy.

`Meshes` of one mesh in NDC (+x left, +y up, the shorter side from -1 to 1, z the depth), and
`rasterize_meshes` with its four results: pix_to_face, zbuf, bary_coords and dists of [N,H,W,K], -1
where there is no face. A pixel on an edge is outside; within sqrt(blur_radius) of the triangle it
counts nevertheless. Faces behind the camera and slivers (area up to 1e-8) are left out.
"""

import sys
from types import ModuleType

import numpy as np
import torch

SLIVER = 1e-8


class Meshes:
    def __init__(self, verts, faces):
        self.verts, self.faces = verts, faces


def rasterize_meshes(
    meshes,
    image_size,
    blur_radius=0.0,
    faces_per_pixel=8,
    max_faces_per_bin=None,
    perspective_correct=False,
    clip_barycentric_coords=False,
    cull_backfaces=False,
):
    assert faces_per_pixel == 1
    assert perspective_correct
    assert clip_barycentric_coords
    assert not cull_backfaces
    (vertices,), (faces,) = meshes.verts, meshes.faces
    assert vertices.dtype == torch.float32
    assert faces.dtype == torch.int64
    height, width = image_size
    side = min(height, width)
    # the column's centre, counted from the right, and the row's, counted from the bottom
    x = (-width + 2 * (width - 1 - np.arange(width)) + 1) / side
    y = (-height + 2 * (height - 1 - np.arange(height)) + 1) / side
    px, py = np.meshgrid(x, y)
    found = np.full((height, width), -1, np.int64)
    zbuf, dists = np.full((2, height, width), -1.0)
    bary = np.full((height, width, 3), -1.0)
    for number, corners in enumerate(vertices.double().numpy()[faces.numpy()]):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
        area = (cx - ax) * (by - ay) - (cy - ay) * (bx - ax)
        if max(az, bz, cz) < 0 or abs(area) <= SLIVER:
            continue
        w = np.stack(
            [
                ((px - bx) * (cy - by) - (py - by) * (cx - bx)) / -area,
                ((px - cx) * (ay - cy) - (py - cy) * (ax - cx)) / -area,
                ((px - ax) * (by - ay) - (py - ay) * (bx - ax)) / -area,
            ],
            -1,
        )
        top = w * [bz * cz, az * cz, az * bz]
        w = top / top.sum(-1, keepdims=True)
        inside = (w > 0).all(-1)
        distance = np.min(
            [_to_segment(px, py, corners[i, :2], corners[(i + 1) % 3, :2]) for i in range(3)],
            0,
        )
        w = np.clip(w, 0, None)
        w = w / np.maximum(w.sum(-1, keepdims=True), 1e-5)
        z = w @ corners[:, 2]
        taken = (inside | (distance < blur_radius)) & (z >= 0) & ((found < 0) | (z < zbuf))
        found[taken], zbuf[taken], bary[taken] = number, z[taken], w[taken]
        dists[taken] = np.where(inside, -distance, distance)[taken]
    arrays = (found, zbuf.astype("f4"), bary.astype("f4"), dists.astype("f4"))
    return tuple(torch.from_numpy(array)[None, :, :, None] for array in arrays)


def _to_segment(px, py, start, end):
    along = end - start
    t = ((px - start[0]) * along[0] + (py - start[1]) * along[1]) / max(along @ along, 1e-30)
    t = np.clip(t, 0, 1)
    return (px - start[0] - t * along[0]) ** 2 + (py - start[1] - t * along[1]) ** 2


def install(monkeypatch) -> None:
    """Make `pytorch3d` importable for a test."""
    names = ("pytorch3d", "pytorch3d.structures", "pytorch3d.renderer", "pytorch3d.renderer.mesh")
    modules = {name: ModuleType(name) for name in (*names, f"{names[-1]}.rasterize_meshes")}
    modules["pytorch3d.structures"].Meshes = Meshes
    modules["pytorch3d.renderer.mesh.rasterize_meshes"].rasterize_meshes = rasterize_meshes
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
