"""The parsing data sets as their authors distribute them.

LaPa (Liu et al. 2020) and `mica-ext synth-parsing`:
    ROOT/{train,val,test}/{images/NAME.jpg, labels/NAME.png, landmarks/NAME.txt}
CelebAMask-HQ (Lee et al. 2020):
    ROOT/CelebA-HQ-img/ID.jpg
    ROOT/CelebAMask-HQ-mask-anno/{ID // 2000}/{ID:05}_{PART}.png
    ROOT/CelebA-HQ-to-CelebA-mapping.txt
    ROOT/list_eval_partition.txt            from CelebA
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pacofr.errors import UserError
from pacofr.tasks.parsing.classes import CELEBAMASK_HQ_FILES
from pacofr.tasks.records import (
    FaceSample,
    LabelLayer,
    Split,
    StoredFile,
    numbers,
    read_lines,
)
from pacofr.utils.budgets import ANNOTATION_BYTES, PTS_BYTES

LAPA_POINTS = 106
LAPA_FIVE = (104, 105, 54, 84, 90)
"""Pupils, nose tip and mouth corners among LaPa's 106 landmarks."""
PUBLISHED = {
    "lapa": {"train": (18168, 18176), "val": (2000,), "test": (2000,)},
    "celebamask-hq": {"train": (24183,), "val": (2993,), "test": (2824,)},
}
"""Pictures of each split; for LaPa's trainset 18,168 and 18,176 are published."""
PARTITIONS = {"train": "0", "val": "1", "test": "2"}
MASKS_PER_FOLDER = 2000


def load_parsing_split(name: str, root: Path, split: str) -> Split:
    """A split of a parsing data set.

    Args:
        name: lapa, celebamask-hq or synthetic.
        root: its folder.
        split: train, val or test.

    Raises:
        UserError: files are missing or of another form; names the file.
    """
    if not root.is_dir():
        raise UserError(f"{root}: expected the folder of the data set {name}, found none")
    load = load_celebamask_hq if name == "celebamask-hq" else load_lapa
    samples = load(root, split)
    published = {part: n for part, n in PUBLISHED.get(name, {}).items() if part == split}
    return Split(name, split, tuple(samples), {split: tuple(range(len(samples)))}, published)


def load_lapa(root: Path, split: str) -> list[FaceSample]:
    """A split in LaPa's layout."""
    folder = root / split
    names = {kind: _stems(folder / kind, suffix) for kind, suffix in _LAPA_FILES.items()}
    for kind, suffix in _LAPA_FILES.items():
        missing = sorted(names["images"] - names[kind])
        if missing:
            raise UserError(
                f"{folder / kind / missing[0]}{suffix}: expected an annotation of the picture"
                f" images/{missing[0]}.jpg, found none ({len(missing)} are missing)"
            )
    extra = sorted(names["labels"] - names["images"])
    if extra:
        raise UserError(
            f"{folder / 'images' / extra[0]}.jpg: expected the picture of labels/{extra[0]}.png,"
            f" found none ({len(extra)} are missing)"
        )
    return [
        FaceSample(
            name,
            StoredFile(folder / "images" / f"{name}.jpg"),
            points=read_lapa_points(folder / "landmarks" / f"{name}.txt")[list(LAPA_FIVE)],
            labels=(LabelLayer(StoredFile(folder / "labels" / f"{name}.png")),),
        )
        for name in sorted(names["images"])
    ]


_LAPA_FILES = {"images": ".jpg", "labels": ".png", "landmarks": ".txt"}


def read_lapa_points(path: Path) -> Float64[np.ndarray, "106 2"]:
    """The landmarks of a picture: a line "106", then x and y in as many lines.

    Raises:
        UserError: the file is missing or holds other numbers.
    """
    words = " ".join(read_lines(path, PTS_BYTES)).split()
    if not words or words[0] != str(LAPA_POINTS):
        said = words[0][:20] if words else "nothing"
        raise UserError(f"{path}: expected {LAPA_POINTS} landmarks, its first line says {said!r}")
    return numbers(words[1:], 2 * LAPA_POINTS, str(path)).reshape(LAPA_POINTS, 2)


def load_celebamask_hq(root: Path, split: str) -> list[FaceSample]:
    """A split of CelebAMask-HQ, by the partition of the CelebA pictures that its faces are from."""
    partition_file = root / "list_eval_partition.txt"
    partition = dict(_words(line, 2, partition_file) for line in _lines(partition_file))
    mapping_file = root / "CelebA-HQ-to-CelebA-mapping.txt"
    masks = _mask_files(root / "CelebAMask-HQ-mask-anno")
    samples = []
    for line in _lines(mapping_file)[1:]:
        number, _, original = _words(line, 3, mapping_file)
        if original not in partition:
            raise UserError(f"{partition_file}: expected a line of {original}, found none")
        if partition[original] != PARTITIONS[split]:
            continue
        layers = tuple(
            LabelLayer(StoredFile(masks[number, part]), class_id)
            for class_id, part in enumerate(CELEBAMASK_HQ_FILES, start=1)
            if (number, part) in masks
        )
        image = root / "CelebA-HQ-img" / f"{number}.jpg"
        if not layers:
            raise UserError(
                f"{root / 'CelebAMask-HQ-mask-anno'}: expected masks of the face {number}, found"
                " none"
            )
        samples.append(FaceSample(number, StoredFile(image), labels=layers))
    present = _stems(root / "CelebA-HQ-img", ".jpg")
    missing = [sample for sample in samples if sample.name not in present]
    if missing:
        raise UserError(
            f"{missing[0].image}: expected a picture of the {split} split, found none"
            f" ({len(missing)} are missing)"
        )
    return samples


def _mask_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Mask files by (number of the face without zeros, part)."""
    found = {}
    for subfolder in sorted(folder.iterdir()) if folder.is_dir() else ():
        for stem in _stems(subfolder, ".png") if subfolder.is_dir() else ():
            number, _, part = stem.partition("_")
            if number.isdecimal() and int(number) // MASKS_PER_FOLDER == _number(subfolder):
                found[str(int(number)), part] = subfolder / f"{stem}.png"
    if not found:
        raise UserError(f"{folder}: expected masks in folders 0 to 14, found none")
    return found


def _number(folder: Path) -> int:
    return int(folder.name) if folder.name.isdecimal() else -1


def _lines(path: Path) -> list[str]:
    return read_lines(path, ANNOTATION_BYTES)


def _words(line: str, count: int, path: Path) -> list[str]:
    words = line.split()
    if len(words) != count:
        raise UserError(f"{path}: expected {count} words in a line, got {line[:60]!r}")
    return words


def _stems(folder: Path, suffix: str) -> set[str]:
    """Names without suffix of the files of a folder that have it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of the data set, found none")
    names = (entry.name for entry in os.scandir(folder))
    return {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
