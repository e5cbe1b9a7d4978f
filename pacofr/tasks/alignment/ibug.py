"""300W (Sagonas et al. 2013) and other photos with .pts files of 68 landmarks."""

from pathlib import Path

from pacofr.errors import UserError
from pacofr.faces.landmarks68 import read_pts
from pacofr.images import scan_folder
from pacofr.tasks.alignment.csv_lists import HRNET_BOX, read_landmark_csv
from pacofr.tasks.records import FaceSample, StoredFile, points_box

TRAIN = ("afw", "helen/trainset", "lfpw/trainset")
COMMON = ("helen/testset", "lfpw/testset")
CHALLENGE = ("ibug",)
CSV_POINTS = 68
CSV_ORIGIN = 2.0
"""Subtracted from the coordinates of HRNet's lists of 300W, as FaRL does."""
RENAMED = {"ibug/image_092_01.jpg": "ibug/image_092 _01.jpg"}
"""A picture whose name the lists have otherwise than the archive."""

Subsets = dict[str, list[int]]


def load_300w(root: Path, split: str) -> tuple[list[FaceSample], Subsets]:
    """Trainset, or the test set with its subsets common and challenge."""
    by_list = (root / "face_landmarks_300w_train.csv").exists()
    if split == "train":
        return (_from_list(root, "train") if by_list else _from_folders(root, TRAIN)), {}
    if by_list:
        common = _from_list(root, "valid_common")
        challenge = _from_list(root, "valid_challenge")
    else:
        common, challenge = _from_folders(root, COMMON), _from_folders(root, CHALLENGE)
    count = len(common) + len(challenge)
    subsets = {"common": [*range(len(common))], "challenge": [*range(len(common), count)]}
    return common + challenge, subsets


def load_pts_folder(root: Path, split: str) -> tuple[list[FaceSample], Subsets]:
    """ROOT/trainset or ROOT/testset; ROOT itself where it has no such folders."""
    folder = root / f"{split}set"
    if folder.is_dir():
        return read_pts_folder(folder), {}
    if split == "train" and (root / "testset").is_dir():
        raise UserError(f"{folder}: expected a folder of photos with .pts files, found none")
    return read_pts_folder(root), {}


def read_pts_folder(folder: Path) -> list[FaceSample]:
    """All photos of a folder, each with a .pts file of its name.

    Raises:
        UserError: a photo without landmarks, landmarks without photo, or other landmarks.
    """
    photos = {path.stem: path for path in scan_folder(folder).images}
    annotated = {path.stem for path in folder.glob("*.pts")}
    for stem in sorted(photos.keys() ^ annotated):
        if stem in photos:
            raise UserError(
                f"{photos[stem]}: expected its landmarks in {stem}.pts beside it, found none"
            )
        raise UserError(f"{folder / stem}.pts: expected a photo of that name beside it, found none")
    samples = []
    for stem, path in sorted(photos.items()):
        points = read_pts(folder / f"{stem}.pts")
        box = points_box(points, HRNET_BOX)
        samples.append(FaceSample(f"{folder.name}/{stem}", StoredFile(path), points, box))
    return samples


def _from_folders(root: Path, folders: tuple[str, ...]) -> list[FaceSample]:
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        raise UserError(
            f"{root / missing[0]}: expected a folder of 300W with photos and .pts files, found none"
        )
    return [sample for folder in folders for sample in read_pts_folder(root / folder)]


def _from_list(root: Path, name: str) -> list[FaceSample]:
    file = root / f"face_landmarks_300w_{name}.csv"
    return read_landmark_csv(file, root, CSV_POINTS, origin=CSV_ORIGIN, renamed=RENAMED)
