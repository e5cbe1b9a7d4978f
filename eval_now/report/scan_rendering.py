"""Pictures of scans with vertex colours: orthographic, lit from the front."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from eval_now.geometry.crop import crop_sphere
from eval_now.geometry.mesh import Mesh
from eval_now.geometry.normals import vertex_normals
from eval_now.geometry.raster import rasterize

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
    rotation = np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    sphere = crop_sphere(landmarks)
    return View(rotation @ frame, sphere.centre, sphere.radius)


def render(
    mesh: Mesh, colours: Float[np.ndarray, "V 3"], view: View, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """Picture of a mesh with vertex colours in [0,1], both sides of a surface visible."""
    fine = size * SUPERSAMPLING
    local = (mesh.vertices - view.centre) @ view.rotation.T
    normals = vertex_normals(local, mesh.triangles)
    light = np.array([0.25, 0.35, 1.0]) / np.linalg.norm([0.25, 0.35, 1.0])
    shade = 0.45 + 0.55 * np.abs(normals @ light)
    screen = np.stack(
        [
            (local[:, 0] / view.half_width + 1) * fine / 2 - 0.5,
            (1 - local[:, 1] / view.half_width) * fine / 2 - 0.5,
            -local[:, 2],
        ],
        axis=1,
    )
    raster = rasterize(screen, mesh.triangles, fine, fine, perspective=False, dtype=np.float64)
    visible = raster.triangles >= 0
    corners = (np.clip(colours, 0, 1) * shade[:, None])[mesh.triangles[raster.triangles[visible]]]
    picture = np.full((fine, fine, 3), BACKGROUND)
    picture[visible] = np.einsum("pk,pkc->pc", raster.barycentric[visible], corners)
    coarse = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean(axis=(1, 3))
    return (coarse * 255 + 0.5).astype(np.uint8)
