"""Tiny trees in the layouts of the 2D data sets, and an encoder small enough to train on them."""

from pathlib import Path

import cv2
import numpy as np
from helpers.pacofr_tiny import tiny_config

from pacofr.faces.landmarks68 import write_pts
from pacofr.tasks.parsing.classes import CELEBAMASK_HQ_FILES

SIZE = 64


def write_encoder(folder: Path) -> Path:
    """The model/ folder of a tiny encoder (32 px, 2 blocks) with random weights."""
    import torch

    from pacofr.engine.checkpoint import write_model
    from pacofr.pretraining.config import model_to_json
    from pacofr.pretraining.method.model import PaCoFR

    torch.manual_seed(3)
    config = tiny_config().model
    write_model(folder, PaCoFR(config), model_to_json(config))
    return folder


def face_points(rng: np.random.Generator, count: int = 68) -> np.ndarray:
    """`count` points on a circle of random place and size, no two pairs of which coincide."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    centre, radius = SIZE / 2 + rng.uniform(-6, 6, 2), rng.uniform(14, 20)
    return centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def face_picture(points: np.ndarray) -> np.ndarray:
    """A bright disc inside the points on dark ground."""
    picture = np.full((SIZE, SIZE, 3), 40, np.uint8)
    cv2.fillPoly(picture, [np.round(points).astype(np.int32)], (200, 150, 120))
    cv2.circle(picture, tuple(np.round(points[0]).astype(int).tolist()), 3, (250, 250, 250), -1)
    return picture


def write_picture(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def write_pts_tree(folder: Path, count: int = 4, seed: int = 0) -> Path:
    """Photos of discs with 68 landmarks around them, and their .pts files."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        points = face_points(rng)
        write_picture(folder / f"face{number}.jpg", face_picture(points))
        write_pts(folder / f"face{number}.pts", points)
    return folder


def write_300w(root: Path) -> Path:
    for number, part in enumerate(
        ("afw", "helen/trainset", "lfpw/trainset", "helen/testset", "lfpw/testset", "ibug")
    ):
        write_pts_tree(root / part, count=2 if part == "ibug" else 1, seed=number)
    return root


def csv_line(name: str, points: np.ndarray, shift: float = 0.0) -> str:
    """A line of HRNet's lists, all coordinates `shift` larger than `points`."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre, scale = (low + high) / 2 + shift, (high - low).max() / 200
    numbers = [scale, *centre, *(points + shift).ravel()]
    return ",".join([name, *(f"{number:.6f}" for number in numbers)])


def write_csv(file: Path, lines: list[str]) -> None:
    file.write_text("\n".join(["image_name,scale,center_w,center_h,original_0_x", *lines]) + "\n")


def write_aflw(root: Path, faces: int = 20_002) -> Path:
    """AFLW-19 of 20,002 faces of one picture; of the two test faces the first is frontal."""
    from scipy.io import savemat

    points = face_points(np.random.default_rng(0), 19)
    write_picture(root / "data/flickr/0/image00002.jpg", face_picture(points))
    names = np.empty((faces, 1), object)
    names[:] = "0/image00002.jpg"
    mask = np.ones((faces, 19), np.uint8)
    order = np.arange(faces)[::-1]
    mask[order[-1], 3] = 0
    low, high = points.min(axis=0), points.max(axis=0)
    savemat(
        root / "AFLWinfo_release.mat",
        {
            "bbox": np.tile([low[0], high[0], low[1], high[1]], (faces, 1)),
            "data": np.tile(points.T.ravel(), (faces, 1)),
            "mask_new": mask,
            "nameList": names,
            "ra": order[None] + 1,
        },
        do_compression=True,
    )
    return root


def write_wflw(root: Path) -> Path:
    """Two training and three test faces; pose, pose and blur, none."""
    lists = root / "WFLW_annotations/list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    for split, attributes in (("train", [0, 0]), ("test", [32, 33, 0])):
        lines = []
        for number, bits in enumerate(attributes):
            points = face_points(np.random.default_rng(number), 98)
            name = f"0--Parade/{split}_{number}.jpg"
            write_picture(root / "WFLW_images" / name, face_picture(points))
            flags = [bits >> place & 1 for place in (5, 4, 3, 2, 1, 0)]
            words = [*points.ravel(), *points.min(axis=0), *points.max(axis=0), *flags]
            lines.append(" ".join([*map(str, words), name]))
        (lists / f"list_98pt_rect_attr_{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def label_map(points: np.ndarray, classes: int) -> np.ndarray:
    """Class 1 inside the points, every other class in a pixel of a row below."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(labels, [np.round(points).astype(np.int32)], 1)
    labels[-1, :classes] = np.arange(classes)
    return labels


def write_lapa(root: Path, count: int = 3, classes: int = 11) -> Path:
    for split in ("train", "val", "test"):
        for number in range(count):
            points = face_points(np.random.default_rng(number), 106)
            aligned = np.array([[22, 26], [42, 26], [32, 34], [26, 44], [38, 44]], float)
            points[[104, 105, 54, 84, 90]] = aligned + points[:104].mean(axis=0) - 32
            outline = np.delete(points, [54, 84, 90, 104, 105], axis=0)
            write_picture(root / split / f"images/{number}.jpg", face_picture(outline))
            write_picture(root / split / f"labels/{number}.png", label_map(outline, classes))
            lines = "\n".join(f"{x:.4f} {y:.4f}" for x, y in points)
            (root / split / "landmarks").mkdir(exist_ok=True)
            (root / split / f"landmarks/{number}.txt").write_text(f"106\n{lines}\n")
    return root


def write_celebamask_hq(root: Path) -> Path:
    """Four faces: 0 and 1 train, 2 val, 3 test; face 3 has an ear under its hair."""
    lines, partition = ["idx orig_idx orig_file"], []
    for number, part in enumerate((0, 0, 1, 2)):
        original = f"{number + 100:06d}.jpg"
        lines.append(f"{number}  {number + 100}  {original}")
        partition.append(f"{original} {part}")
        picture = np.full((128, 128, 3), 30 * number, np.uint8)
        write_picture(root / f"CelebA-HQ-img/{number}.jpg", picture)
        for row, name in enumerate(CELEBAMASK_HQ_FILES):
            mask = np.zeros((64, 64, 3), np.uint8)
            mask[2 * row : 2 * row + 2] = 255
            if name == "l_ear" and number == 3:
                mask[40:] = 255
            path = root / f"CelebAMask-HQ-mask-anno/0/{number:05d}_{name}.png"
            write_picture(path, mask)
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return root
