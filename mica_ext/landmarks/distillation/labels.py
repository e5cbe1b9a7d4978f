"""Faces of photos with the points that Face Mesh V2, the teacher, sees in them.

RUN/faces/labels.json            which photos and which teacher
RUN/faces/00000.safetensors ...  a `FaceStore` for each unit of photos; those there are kept
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8

from mica_ext.errors import UserError
from mica_ext.landmarks.distillation.face_store import (
    FaceStore,
    LabelledFace,
    join_stores,
    load_store,
    make_store,
    save_store,
)
from pacofr.data.curation.sources.units import SourceUnit, find_units, read_photos
from pacofr.data.curation.stats import Counter
from pacofr.errors import UserError as ContentError
from pacofr.faces.detect import Face, detect
from pacofr.faces.face_mesh.network import CROP, FaceMeshNetwork
from pacofr.faces.face_mesh.region import Region, crop_region, region_of_five, region_of_points
from pacofr.faces.face_mesh.topology import LEFT_EYE_OUTER, MIRROR, POINTS, RIGHT_EYE_OUTER
from pacofr.images import decode_image
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_json
from pacofr.utils.progress import track

LOGGER = logging.getLogger(__name__)
PASSES = 3
"""Looks of the teacher at a face; the last one also at its mirror image."""
MIN_FACE_PX = 28.0
"""Smaller faces are left out."""
MIN_LOGIT = 3.0
"""The teacher's logit below which there may be no face."""
MAX_DISAGREEMENT = 0.05
"""Of the points in the last two looks, and in the mirror image; over the eye distance."""
PICTURE_PER_BOX = 2.2
"""Side of the picture kept of a face over the longer side of its points' box."""
PICTURE_MAX = 320
"""Largest side of that picture [px]."""


class TeacherPoints(NamedTuple):
    """What the teacher sees of a face."""

    points: Float[np.ndarray, "478 3"]
    """In the photo [px], mean of the face and its mirror image."""
    logit: float
    disagreement: float
    """The larger of those that `MAX_DISAGREEMENT` bounds."""


def label_photos(sources: Sequence[Path], teacher: FaceMeshNetwork, folder: Path) -> FaceStore:
    """Faces of all photos in folders and tars; goes on with what `folder` holds.

    Raises:
        UserError: no photos or no faces; `folder` holds the faces of other photos.
    """
    units = find_units(tuple(sources)).units
    folder.mkdir(parents=True, exist_ok=True)
    _require_same_photos(units, folder / "labels.json")
    stores = []
    for unit in track(units, "teacher's points"):
        path = folder / f"{unit.number:05d}.safetensors"
        if not path.exists():
            save_store(make_store(list(_label_unit(unit, teacher))), path)
        stores.append(load_store(path))
    store = join_stores(stores) if stores else make_store([])
    if not len(store):
        raise UserError(
            f"--photos {sources[0]}: expected photos of faces, found none that the teacher is sure "
            "of"
        )
    LOGGER.info("%d faces", len(store))
    return store


class _LabelledPhotos(NamedTuple):
    units: tuple[str, ...]


def _require_same_photos(units: Sequence[SourceUnit], path: Path) -> None:
    digests = [unit.digest for unit in units]
    if not path.exists():
        write_json(path, {"units": digests})
        return
    try:
        content = read_json(path, "digests of the photos of a run")
        same = from_json(_LabelledPhotos, content, str(path)).units == tuple(digests)
    except ContentError:
        same = False
    if not same:
        raise UserError(
            f"{path.parent}: holds faces of other photos than those of --photos; give another --out"
        )


def _label_unit(unit: SourceUnit, teacher: FaceMeshNetwork) -> Iterator[LabelledFace]:
    for photo in read_photos(unit, None, Counter(), with_ids=False):
        if photo.problem is not None:
            LOGGER.warning("left out: %s: %s", photo.key, photo.problem.value)
            continue
        try:
            image = decode_image(photo.data, photo.key)
        except ContentError as error:
            LOGGER.warning("left out: %s", error)
            continue
        for face in detect(image):
            labelled = label_face(teacher, image, face) if face.size >= MIN_FACE_PX else None
            if labelled is not None:
                yield labelled


def label_face(
    teacher: FaceMeshNetwork, image: UInt8[np.ndarray, "H W 3"], face: Face
) -> LabelledFace | None:
    """A face's surroundings with the teacher's points; None where the teacher is not sure."""
    points, logit, disagreement = teacher_points(teacher, image, face.points)
    if logit < MIN_LOGIT or disagreement > MAX_DISAGREEMENT:
        return None
    return cut_face(image, points, face.points)


def cut_face(
    image: UInt8[np.ndarray, "H W 3"],
    points: Shaped[np.ndarray, "478 3"],
    five: Shaped[np.ndarray, "5 2"],
) -> LabelledFace:
    """The square around a face, reduced to `PICTURE_MAX` if it is larger, and its points there."""
    around = region_of_points(points[:, :2], PICTURE_PER_BOX)._replace(roll=0.0)
    size = round(min(PICTURE_MAX, around.side))
    matrix, scale = around.to_crop(size), size / around.side

    def moved(xy: Shaped[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        return xy @ matrix[:, :2].T + matrix[:, 2]

    in_picture = np.column_stack([moved(points[:, :2]), scale * points[:, 2]])
    picture = crop_region(image, around, size)
    return LabelledFace(picture, in_picture, moved(five), np.ones(POINTS, bool))


@torch.inference_mode()
def teacher_points(
    teacher: FaceMeshNetwork,
    image: UInt8[np.ndarray, "H W 3"],
    five: Shaped[np.ndarray, "5 2"],
) -> TeacherPoints:
    """Read a face `PASSES` times, the last time with its mirror image."""
    region, points, before = region_of_five(five), np.zeros((0, 3)), np.zeros((0, 3))
    logit, mirror_gap = 0.0, 0.0
    for number in range(PASSES):
        crop = torch.from_numpy(crop_region(image, region, CROP)).permute(2, 0, 1)[None] / 255
        last = number + 1 == PASSES
        output = teacher(torch.cat([crop, crop.flip(3)]) if last else crop)
        found = output.points.double().numpy()
        if last:
            mirrored = found[1][MIRROR] * [-1, 1, 1] + [CROP, 0, 0]
            mirror_gap = _gap(found[0], mirrored)
            found = (found[:1] + mirrored) / 2
        before, points = points, _to_photo(found[0], region)
        logit = float(output.face_logit[0])
        region = region_of_points(points[:, :2])
    return TeacherPoints(points, logit, max(mirror_gap, _gap(points, before)))


def _to_photo(points: Float[np.ndarray, "478 3"], region: Region) -> Float[np.ndarray, "478 3"]:
    matrix = region.to_photo(CROP)
    xy = (points[:, :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([xy, points[:, 2] * region.side / CROP])


def _gap(points: Float[np.ndarray, "478 3"], other: Float[np.ndarray, "478 3"]) -> float:
    """Mean distance of the points in the picture over the eye distance."""
    eyes = np.linalg.norm(points[LEFT_EYE_OUTER, :2] - points[RIGHT_EYE_OUTER, :2])
    return float(np.linalg.norm((points - other)[:, :2], axis=1).mean() / max(eyes, 1e-6))
