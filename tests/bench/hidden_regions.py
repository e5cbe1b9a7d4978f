"""How well hidden regions and drawings are told from clean faces, on Helen and London.

    python tests/bench/hidden_regions.py --helen HELEN/testset --london LONDON [--every 3]

Each of Helen's faces is read clean, with every occlusion of `helpers.occlusions` painted on it, and
as a line drawing; London's clean. Prints, per occlusion, how often its regions are told hidden and
how often another one is; and how often anything at all is told of clean faces.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.occlusions import line_drawing, occlusions
from jaxtyping import UInt8

from mica_ext.landmarks.annotated_photos import read_labelled
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.evaluate import match_face
from mica_ext.landmarks.readers import StudentReader
from mica_ext.landmarks.regions import REGIONS
from mica_ext.models.quality import HIDDEN_BELOW, MIN_CONFIDENCE
from pacofr.faces.detect import Face, detect
from pacofr.images import load_image

Image = UInt8[np.ndarray, "H W 3"]


class Told(NamedTuple):
    """What is told of one picture."""

    hidden: frozenset[str]
    is_face: bool


class Rates(NamedTuple):
    """Of pictures of one kind [%]."""

    all_told: float
    """With every covered region told."""
    others_told: float
    """With a region told that is not covered as a whole; neighbours may be covered in part."""
    no_face: float


def rates(told: list[Told], covered: frozenset[str]) -> Rates:
    """Of pictures in all of which `covered` regions are hidden."""
    return Rates(
        100 * float(np.mean([covered <= each.hidden for each in told])),
        100 * float(np.mean([bool(each.hidden - covered) for each in told])),
        100 * float(np.mean([not each.is_face for each in told])),
    )


def told_by(reader: StudentReader) -> Callable[[Image, Face], Told]:
    """The product's decisions about one face."""

    def tell(image: Image, face: Face) -> Told:
        found = detect_points(reader, image, face)
        seen = dict(zip(REGIONS, found.visibility.tolist(), strict=True))
        hidden = frozenset(name for name, share in seen.items() if share < HIDDEN_BELOW[name])
        return Told(hidden, found.confidence >= MIN_CONFIDENCE)

    return tell


def clean_faces(folder: Path, every: int) -> Iterator[tuple[Image, Face]]:
    """The annotated face of each photo."""
    for _, photo in list(read_labelled(folder))[::every]:
        face = match_face(photo)
        if face is not None:
            yield photo.image, face


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helen", type=Path, required=True)
    parser.add_argument("--london", type=Path)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    reader = StudentReader(given.weights)
    tell, rng = told_by(reader), np.random.default_rng(0)
    told: defaultdict[str, list[Told]] = defaultdict(list)
    covered: dict[str, frozenset[str]] = {}
    for image, face in clean_faces(given.helen, given.every):
        told["clean, Helen"].append(tell(image, face))
        told["line drawing"].append(tell(line_drawing(image), face))
        points = detect_points(reader, image, face).points_px.numpy()
        for painted in occlusions(image, points, rng):
            covered[painted.name] = frozenset(painted.hidden)
            told[painted.name].append(tell(painted.image, face))
    for path in sorted(given.london.rglob("*.jpg"))[:: given.every] if given.london else ():
        image = load_image(path)
        told["clean, London"] += [tell(image, face) for face in detect(image)[:1]]
    print(f"{'':20}{'n':>5} {'told':>7} {'others':>7} {'no face':>8}")
    for kind, pictures in told.items():
        hidden = covered.get(kind, frozenset())
        row = rates(pictures, hidden)
        all_told = f"{row.all_told:6.1f}%" if hidden else f"{'':7}"
        print(f"{kind:20}{len(pictures):5} {all_told} {row.others_told:6.1f}% {row.no_face:7.1f}%")


if __name__ == "__main__":
    main()
