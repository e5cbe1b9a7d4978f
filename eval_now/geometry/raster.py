"""A small renderer for error maps: orthographic z-buffer, colours at the vertices, soft light."""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, UInt8

from eval_now.geometry.crop import crop_sphere
from eval_now.geometry.mesh import Mesh, vertex_normals
from eval_now.geometry.numba_jit import cached_njit

BACKGROUND = 1.0
SUPERSAMPLING = 2


class View(NamedTuple):
    """Rotation into the picture's frame (x right, y up, z to the viewer), centre, half width."""

    rotation: Float[np.ndarray, "3 3"]
    centre: Float[np.ndarray, " 3"]
    half_width: float


def face_view(landmarks: Float[np.ndarray, "7 3"], turn_degrees: float) -> View:
    """Look at what the benchmark measures of a face, front or side, however its scanner stood.

    Positive turns show more of the face's left side.
    """
    bridge = (landmarks[1] + landmarks[2]) / 2
    right = landmarks[3] - landmarks[0]
    right = right / np.linalg.norm(right)
    up = bridge - (landmarks[5] + landmarks[6]) / 2
    up = up - (up @ right) * right
    up = up / np.linalg.norm(up)
    frame = np.stack([right, up, np.cross(right, up)])
    angle = np.radians(turn_degrees)
    turn = np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    sphere = crop_sphere(landmarks)
    return View(turn @ frame, sphere.centre, sphere.radius)


def render(
    mesh: Mesh, colours: Float[np.ndarray, "V 3"], view: View, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """Picture of a mesh with vertex colours in [0,1], both sides of a surface visible."""
    fine = size * SUPERSAMPLING
    local = (mesh.vertices - view.centre) @ view.rotation.T
    normals = vertex_normals(Mesh(local, mesh.triangles))
    light = np.array([0.25, 0.35, 1.0]) / np.linalg.norm([0.25, 0.35, 1.0])
    shade = 0.45 + 0.55 * np.abs(normals @ light)
    points = np.stack(
        [
            (local[:, 0] / view.half_width + 1) * fine / 2,
            (1 - local[:, 1] / view.half_width) * fine / 2,
            local[:, 2],
        ],
        axis=1,
    )
    picture = np.full((fine, fine, 3), BACKGROUND)
    _fill(points, mesh.triangles, np.clip(colours, 0, 1) * shade[:, None], picture)
    coarse = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean(axis=(1, 3))
    return (coarse * 255 + 0.5).astype(np.uint8)


@cached_njit()
@no_type_check
def _fill(points, triangles, colours, picture):  # noqa: ANN001, ANN202
    """Draw every triangle into the picture, nearest (largest z) in front."""
    height, width = picture.shape[0], picture.shape[1]
    depth = np.full((height, width), -np.inf)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0 = max(int(np.floor(min(ax, bx, cx) - 0.5)), 0)
        x1 = min(int(np.ceil(max(ax, bx, cx) + 0.5)), width)
        y0 = max(int(np.floor(min(ay, by, cy) - 0.5)), 0)
        y1 = min(int(np.ceil(max(ay, by, cy) + 0.5)), height)
        for row in range(y0, y1):
            y = row + 0.5
            for column in range(x0, x1):
                x = column + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                z = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]
                if z > depth[row, column]:
                    depth[row, column] = z
                    for k in range(3):
                        picture[row, column, k] = (
                            u * colours[a, k] + v * colours[b, k] + w * colours[c, k]
                        )
