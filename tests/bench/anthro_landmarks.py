"""Where Anthro's 68 landmarks lie beside those of ICT-FaceKit and of Face Mesh V2 on photos.

    python tests/bench/anthro_landmarks.py [--photos FOLDER] [--face-mesh FILE] [--ict FILE]

The evidence behind `flame_assets/anthro/surface/landmarks.py`, all of it freely licensed: Face Mesh
V2 (Apache-2.0) reads the neutral frontal photos of even number of the Face Research Lab London Set
(DeBruine and Jones, CC BY 4.0); its points, in units of the outer eye corners' distance, are
averaged over people and over both sides. A pinhole camera 1.5 m away is fitted to ICT's published
landmark vertices (MIT) at the points that both models place alike. The table compares, in that
picture and in mm at the face, the points of the subject's left and of the midline.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from anthro_ict_fit import ICT_LANDMARKS, Model, load_ict, on_anthro
from scipy.optimize import least_squares

from flame_assets.anthro import build_anthro
from pacofr.faces.face_mesh.detect import detect_points
from pacofr.faces.face_mesh.task_file import load_face_mesh
from pacofr.faces.face_mesh.topology import (
    FACE_OVAL,
    IBUG68,
    LEFT_BROW,
    LEFT_EYE_OUTER,
    MIRROR,
    RIGHT_EYE_OUTER,
)
from pacofr.images import load_image

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
START = np.array([[0.41, 0.45], [0.59, 0.45], [0.5, 0.55], [0.41, 0.66], [0.59, 0.66]])
"""Eyes, nose and mouth corners for the first look, as shares of these uniform square photos."""
PASSES = 3
DISTANCE, FACE_Z = 1500.0, 80.0
"""From the camera to the plane z = FACE_Z of the head [mm]."""
ANCHORS = np.array([27, 28, 29, 30, 33, *range(36, 48), 48, 51, 54, 57, 62, 66])
SHOWN = [*range(8, 17), *range(22, 31), 33, 34, 35, *range(42, 48), *range(51, 58), *range(62, 67)]
CENTRE = np.array([0.0, -20.0])
"""Middle of the face, from where the outline's radius is measured [mm]."""


class Camera(NamedTuple):
    """Pitch [rad], scale [1/mm] and height of a frontal pinhole camera."""

    pitch: float
    scale: float
    height: float

    def picture(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 3] in mm to the picture, in mm at the plane z = FACE_Z."""
        c, s = np.cos(self.pitch), np.sin(self.pitch)
        turned = points @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T
        depth = DISTANCE / (DISTANCE - (turned[:, 2:] - FACE_Z))
        return turned[:, :2] * depth + [0, self.height]


def mean_points(photos: Path, face_mesh: Path) -> tuple[np.ndarray, int]:
    """Mean mirrored points [478, 2], y up, over the photos of even number; and their count."""
    torch.set_num_threads(1)
    network = load_face_mesh(face_mesh)
    faces = []
    for path in sorted(photos.glob("*.jpg")):
        if int(path.name[:3]) % 2:
            continue
        image = load_image(path)
        five = START * image.shape[1]
        points = detect_points(network, [image], [five], passes=PASSES).points_px[0].double()
        faces.append(_upright(points.numpy()))
    mean = np.mean(faces, axis=0)
    return (mean + mean[MIRROR] * [-1, 1]) / 2, len(faces)


def _upright(points: np.ndarray) -> np.ndarray:
    """Points with the outer eye corners at (-1/2, 0) and (1/2, 0), y up."""
    right, left = points[RIGHT_EYE_OUTER], points[LEFT_EYE_OUTER]
    across = left - right
    unit = np.linalg.norm(across)
    across /= unit
    offset = points - (left + right) / 2
    return np.stack([offset @ across, offset @ [across[1], -across[0]]], 1) / unit


def fit_camera(seen: np.ndarray, points: np.ndarray) -> tuple[Camera, float]:
    """The camera that carries points [n, 3] to seen [n, 2], and the mean residual [mm]."""

    def residuals(x: np.ndarray) -> np.ndarray:
        return (Camera(x[0], x[1], x[2]).picture(points) * x[1] - seen).ravel()

    x = least_squares(residuals, [0.0, 1 / 90, 0.0], loss="soft_l1", f_scale=0.02).x
    return Camera(*x), float(np.abs(residuals(x)).mean() / x[1])


def radius(outline: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far outside the outline each point lies, along its ray from the middle of the face."""

    def polar(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offset = values - CENTRE
        return np.arctan2(-offset[:, 1], np.abs(offset[:, 0])), np.linalg.norm(offset, axis=1)

    angle, distance = polar(outline)
    order = np.argsort(angle)
    own_angle, own = polar(points)
    return own - np.interp(own_angle, angle[order], distance[order])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=SHARED / "london/neutral_front")
    parser.add_argument("--face-mesh", type=Path, default=SHARED / "face_mesh/face_landmarker.task")
    parser.add_argument("--ict", type=Path, default=SHARED / "ict_facekit/ict_facekit_light.npz")
    options = parser.parse_args()
    head = build_anthro()
    model = Model(head)
    ict = on_anthro(load_ict(options.ict), model).neutral[ICT_LANDMARKS]
    corners = np.concatenate([head.static_contour_triangles, head.landmark_triangles])
    share = np.concatenate([head.static_contour_barycentric, head.landmark_barycentric])
    own = np.einsum("nci,nc->ni", model.template[head.triangles[corners]], share)
    mean, count = mean_points(options.photos, options.face_mesh)
    camera, residual = fit_camera(mean[IBUG68[ANCHORS]], ict[ANCHORS])
    seen = mean / camera.scale
    read = seen[IBUG68]
    upper, lower = seen[LEFT_BROW[:5]], seen[LEFT_BROW[5:]]
    read[[22, 26]] = ((upper + lower) / 2)[[4, 0]]  # the ends of a brow: the middle of its hair
    ours, theirs = camera.picture(own), camera.picture(ict)
    print(f"{count} photos; camera: pitch {np.degrees(camera.pitch):.1f} degrees, mean residual")
    print(f"at {len(ANCHORS)} points {residual:.2f} mm. Anthro {head.version} less both [mm]:")
    print("point   ICT x     y   Face Mesh x     y")
    for k in SHOWN:
        a, b = ours[k] - theirs[k], ours[k] - read[k]
        print(f"{k:5} {a[0]:7.1f} {a[1]:5.1f} {b[0]:13.1f} {b[1]:5.1f}")
    both = np.linalg.norm(ours - (theirs + read) / 2, axis=1)[17:]
    print(f"51 points from the mean of both models: {both.mean():.2f} mm")
    gap = radius(seen[FACE_OVAL], ours[8:17])
    print(f"contour outside Face Mesh's oval [mm]: {np.round(gap, 1).tolist()} (points 8 to 16)")


if __name__ == "__main__":
    main()
