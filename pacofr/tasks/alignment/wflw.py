"""WFLW (Wu et al. 2018): 98 landmarks, and six attributes that give the subsets of the test set."""

from pathlib import Path

import numpy as np

from pacofr.tasks.alignment.csv_lists import HRNET_BOX, find_picture, read_landmark_csv
from pacofr.tasks.records import FaceSample, StoredFile, numbers, points_box, read_lines
from pacofr.utils.budgets import ANNOTATION_BYTES

POINTS = 98
ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
"""In the order of the annotation's last six numbers."""
CSV_SUBSETS = ("largepose", "expression", "illumination", "makeup", "occlusion", "blur")
"""Their names in HRNet's lists."""
LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"

Subsets = dict[str, list[int]]


def load_wflw(root: Path, split: str) -> tuple[list[FaceSample], Subsets]:
    """A split; the test split with its subsets."""
    if (root / f"face_landmarks_wflw_{split}.csv").exists():
        return _from_csv(root, split)
    file = root / LISTS / f"list_98pt_rect_attr_{split}.txt"
    samples, attributes = [], []
    for number, line in enumerate(read_lines(file, ANNOTATION_BYTES), start=1):
        *words, name = line.split()
        where = f"{file}, line {number}"
        values = numbers(words, 2 * POINTS + 4 + len(ATTRIBUTES), where)
        points = values[: 2 * POINTS].reshape(POINTS, 2)
        path = find_picture(root / "WFLW_images", name, where)
        box = points_box(points, HRNET_BOX)
        samples.append(FaceSample(f"{name}#{number}", StoredFile(path), points, box))
        attributes.append(values[-len(ATTRIBUTES) :] == 1)
    if split == "train" or not samples:
        return samples, {}
    marked = np.array(attributes)
    return samples, {
        name: np.flatnonzero(marked[:, i]).tolist() for i, name in enumerate(ATTRIBUTES)
    }


def _from_csv(root: Path, split: str) -> tuple[list[FaceSample], Subsets]:
    images = root / "WFLW_images"
    images = images if images.is_dir() else root
    samples = read_landmark_csv(root / f"face_landmarks_wflw_{split}.csv", images, POINTS)
    if split == "train":
        return samples, {}
    positions = {_key(sample): i for i, sample in enumerate(samples)}
    subsets: Subsets = {}
    for name, stem in zip(ATTRIBUTES, CSV_SUBSETS, strict=True):
        file = root / f"face_landmarks_wflw_test_{stem}.csv"
        listed = read_landmark_csv(file, images, POINTS)
        subsets[name] = [positions[_key(sample)] for sample in listed if _key(sample) in positions]
    return samples, subsets


def _key(sample: FaceSample) -> tuple[str, bytes]:
    """Several faces may lie in one picture."""
    assert sample.points is not None
    return sample.name, sample.points.tobytes()
