"""The alignment data sets as their authors distribute them.

300w      ROOT/{afw, helen/{trainset,testset}, lfpw/{trainset,testset}, ibug}/NAME.{jpg,png,pts}
          and with HRNet's lists (the protocol of the paper)
          ROOT/face_landmarks_300w_{train,valid_common,valid_challenge}.csv
aflw-19   ROOT/AFLWinfo_release.mat, ROOT/data/flickr/{0,2,3}/NAME.jpg
wflw      ROOT/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt
          ROOT/WFLW_images/EVENT/NAME.jpg
          or HRNet's lists ROOT/face_landmarks_wflw_{train,test,test_SUBSET}.csv
pts       ROOT/{trainset,testset}/NAME.{jpg,...,pts}, or both in ROOT alone
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pacofr.errors import UserError
from pacofr.tasks.alignment.aflw import load_aflw
from pacofr.tasks.alignment.ibug import load_300w, load_pts_folder
from pacofr.tasks.alignment.wflw import load_wflw
from pacofr.tasks.records import FaceSample, Split

Subsets = Mapping[str, Sequence[int]]
Loader = Callable[[Path, str], tuple[list[FaceSample], Subsets]]


class AlignmentSet(NamedTuple):
    """What is particular to a data set."""

    points: int
    """Landmarks of a face."""
    crop_scale: float
    """Fraction of the frame that the face box fills, in FaRL's protocol."""
    epochs: int
    measures: tuple[str, ...]
    """What is scored, the most important first."""
    load: Loader
    published: Mapping[str, int]
    """Faces of the splits and subsets."""


ALIGNMENT_SETS: Mapping[str, AlignmentSet] = {
    "300w": AlignmentSet(
        68,
        0.8,
        250,
        ("inter_ocular", "inter_pupil"),
        load_300w,
        {"train": 3148, "full": 689, "common": 554, "challenge": 135},
    ),
    "aflw-19": AlignmentSet(
        19,
        1.0,
        150,
        ("diag", "box", "auc_box_7", "fr_box_7", "inter_ocular"),
        load_aflw,
        {"train": 20000, "full": 4386, "frontal": 1314},
    ),
    "wflw": AlignmentSet(
        98,
        0.8,
        150,
        ("inter_ocular", "auc_inter_ocular_10", "fr_inter_ocular_10"),
        load_wflw,
        {
            **{"train": 7500, "full": 2500, "pose": 326, "expression": 314, "illumination": 698},
            **{"make-up": 206, "occlusion": 736, "blur": 773},
        },
    ),
    "pts": AlignmentSet(68, 0.8, 250, ("inter_ocular", "inter_pupil"), load_pts_folder, {}),
}
"""By the name that --data takes."""


def load_alignment_split(name: str, root: Path, split: str) -> Split:
    """A split of an alignment data set.

    Args:
        name: a key of `ALIGNMENT_SETS`.
        root: its folder.
        split: train or test.

    Raises:
        UserError: files are missing or of another form; names the file.
    """
    if not root.is_dir():
        raise UserError(f"{root}: expected the folder of the data set {name}, found none")
    about = ALIGNMENT_SETS[name]
    samples, subsets = about.load(root, split)
    if not samples:
        raise UserError(f"{root}: expected faces in the {split} split of {name}, found none")
    parts = {"full" if split == "test" else split: tuple(range(len(samples)))}
    parts |= {subset: tuple(positions) for subset, positions in subsets.items()}
    published = {part: (about.published[part],) for part in parts if part in about.published}
    return Split(name, split, tuple(samples), parts, published)
