"""Tiny trees of registered meshes in the layouts of CoMA and FaMoS."""

import json
from pathlib import Path

import numpy as np
import torch
from helpers.registered_heads import Sequence, sequence

from eval_now.geometry.mesh import Mesh
from eval_now.io.meshes import save_ply
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from pacofr.faces.landmarks68 import five_points

COMA_SUBJECTS = ("FaceTalk_170725_00137_TA", "FaceTalk_170728_03272_TA")
COMA_EXPRESSIONS = ("bareteeth", "mouth_open")
FAMOS_SUBJECTS = ("FaMoS_subject_001", "FaMoS_subject_002")
FAMOS_SEQUENCES = ("anger", "head_rotation_left_right")


def write_mesh(path: Path, head: HeadModel, vertices: np.ndarray, scale: float = 1.0) -> None:
    """A registration as the data sets hold them: binary PLY."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_ply(path, Mesh(vertices * scale, head.triangles.astype(np.int64)))


def coma_tree(
    root: Path, head: HeadModel, frames: int = 4, scale: float = 1.0
) -> dict[str, Sequence]:
    """ROOT/COMA_data/SUBJECT/EXPRESSION/EXPRESSION.000001.ply; what each subject is made of."""
    return _tree(root / "COMA_data", head, COMA_SUBJECTS, COMA_EXPRESSIONS, frames, scale)


def famos_tree(root: Path, head: HeadModel, frames: int = 4) -> dict[str, Sequence]:
    """ROOT/registrations/SUBJECT/SEQUENCE/SEQUENCE.000001.ply and a list of training frames."""
    made = _tree(root / "registrations", head, FAMOS_SUBJECTS, FAMOS_SEQUENCES, frames, 1.0)
    rows = [
        [FAMOS_SUBJECTS[0], name, f"{number:06d}"] for name in FAMOS_SEQUENCES for number in (1, 3)
    ]
    name = "seventy_subj__all_seq_frames_per_seq_40_head_rot_120_train.json"
    (root / name).write_text(json.dumps(rows))
    return made


def _tree(root, head, subjects, sequences, frames, scale):
    made = {}
    for number, subject in enumerate(subjects):
        own = sequence(head, frames * len(sequences), seed=number)
        made[subject] = own
        for index, vertices in enumerate(own.meshes):
            name, frame = sequences[index // frames], index % frames + 1
            write_mesh(root / subject / name / f"{name}.{frame:06d}.ply", head, vertices, scale)
    return made


class PictureCamera:
    """A camera of a capture system, by the formulas of Tsai's model: written as .tka, projected."""

    SIZE = (1200, 1600)  # full resolution; pictures have a quarter of it

    def __init__(self, eye_m, distortion=(0.0, 0.0)):
        """At a place of the world [m], looking at the origin, upright."""
        forward = -np.asarray(eye_m, float) / np.linalg.norm(eye_m)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        self.rotation = np.stack([right, np.cross(forward, right), forward])
        self.eye_mm = 1000 * np.asarray(eye_m, float)
        self.focal_mm, self.pixel_mm = 20.0, 0.005
        self.centre = np.array([601.5, 795.0])
        self.distortion = distortion  # [1/mm^2, 1/mm^4]

    def write(self, path: Path, size=None) -> None:
        width, height = size or self.SIZE
        rows = "".join(" ".join(f"{value:.12f}" for value in row) + " \n" for row in self.rotation)
        names = ("X", "Y", "Z", "f", "K", "K2", "S", "x", "y", "a", "b")
        values = (*self.eye_mm, self.focal_mm, *self.distortion, 0.0, self.pixel_mm, self.pixel_mm)
        values = (*values, *self.centre)
        lines = "".join(
            f"%{name} {value:.12g}\n" for name, value in zip(names, values, strict=True)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"%M\n{rows}{lines}%is {width} {height}\n%c 0\n")

    def pixels(self, points: np.ndarray, shrink: int = 4) -> np.ndarray:
        """Where points [m] are in a picture of the downsampled size, without distortion."""
        camera = (1000 * points - self.eye_mm) @ self.rotation.T
        on_sensor = self.focal_mm * camera[:, :2] / camera[:, 2:]
        return (on_sensor / self.pixel_mm + self.centre) / shrink


def write_picture(path: Path, dots: np.ndarray) -> None:
    """A grey picture, downsampled as FaMoS' are, with white dots at points [px]."""
    import cv2

    width, height = (side // 4 for side in PictureCamera.SIZE)
    picture = np.full((height, width, 3), 60, np.uint8)
    for x, y in dots:
        cv2.circle(picture, (round(x * 16), round(y * 16)), 32, (255, 255, 255), -1, cv2.LINE_AA, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def famos_pictures(root: Path, head: HeadModel) -> Path:
    """`famos_tree` with pictures of cameras that the heads look towards, and the published lists.

    The pictures show white dots at the five points; one camera stands behind the heads.
    """
    made = famos_tree(root, head, frames=2)
    decoder = HeadDecoder(head)
    cameras = {"26_C": PictureCamera([0.1, 0.0, 1.1]), "27_C": PictureCamera([-0.5, 0.2, 1.0])}
    cameras["28_C"] = PictureCamera([0.0, 0.0, -1.1])  # from behind
    cameras["26_A"] = cameras["26_C"]
    for subject, own in made.items():
        for index, vertices in enumerate(own.meshes):
            name, frame = FAMOS_SEQUENCES[index // 2], f"{index % 2 + 1:06d}"
            moved = vertices - own.translation[index]  # into the cameras' middle
            write_mesh(root / f"registrations/{subject}/{name}/{name}.{frame}.ply", head, moved)
            points = decoder.frontal_landmarks(torch.from_numpy(moved[None]).float())[0]
            for view, camera in cameras.items():
                dots = five_points(camera.pixels(points.double().numpy()))
                place = f"train_images_4/{subject}/{name}/{frame}/{name}.{frame}.{view}.png"
                write_picture(root / place, dots)
                camera.write(root / f"train_calibrations/{subject}/{name}/{view}.tka")
    for name, subject in zip(
        ("seventy_subj__all_seq_frames_per_seq_40_head_rot_120_train",
         "eight_subj__all_seq_frames_per_seq_5_val"),
        FAMOS_SUBJECTS, strict=True,
    ):  # fmt: skip
        (root / f"{name}.json").write_text(json.dumps([[subject, "anger", "000001"]]))
    return root
