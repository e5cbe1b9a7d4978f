"""Photos with labels that a fit to their dense points makes."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from scipy.spatial.transform import Rotation

from mica_ext.data.branch.alignment import CameraPose, align_picture, move_camera, rotation_vector
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.branch.sources.fitted_subject import camera_arrays
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError
from mica_ext.models.types import FaceParameters
from pacofr.errors import UserError as ImageError
from pacofr.faces.align import move_points
from pacofr.images import list_images, load_image

UNREADABLE = "unreadable photo"


class PhotoLabels(NamedTuple):
    """What a fit says of a face."""

    five_points: Shaped[np.ndarray, "5 2"]
    parameters: FaceParameters
    """A batch of one."""
    root: Float32[np.ndarray, "3"]
    """Root joint of the fitted head at rest [m]."""
    points_px: Float32[np.ndarray, "478 2"]
    point_confidence: Float32[np.ndarray, "478"]
    confidence: float
    """Of the whole face, 0 to 1."""


class Refused(NamedTuple):
    """Why a photo gets no labels, in a few words."""

    reason: str


Labeller = Callable[
    [UInt8[np.ndarray, "H W 3"], Float32[np.ndarray, " S"] | None], PhotoLabels | Refused
]
"""Labels the largest face of a photo; the identity is kept where it is given."""


def people_of(root: Path) -> dict[str, list[Path]]:
    """Photos by person: the folder they lie in, or for photos directly in ROOT the photo.

    Raises:
        UserError: there are none.
    """
    people: dict[str, list[Path]] = {}
    try:
        photos = list_images(root, recursive=True)
    except ImageError as error:
        raise UserError(str(error)) from error
    for path in photos:
        folder = path.parent.relative_to(root)
        name = path.name if folder == Path() else folder.as_posix()
        people.setdefault(name, []).append(path)
    return people


def photo_samples(
    person: str,
    photos: Iterable[Path],
    label: Labeller,
    skipped: SkipCounter,
    shape: Float32[np.ndarray, " S"] | None = None,
) -> Iterator[BranchSample]:
    """A sample of every photo with a usable face."""
    for path in photos:
        try:
            photo = load_image(path)
        except ImageError as error:
            skipped.add(UNREADABLE, str(error))
            continue
        labels = label(photo, shape)
        if isinstance(labels, Refused):
            skipped.add(labels.reason, path)
        else:
            yield _sample(person, str(path), photo, labels)


def _sample(
    person: str, source: str, photo: UInt8[np.ndarray, "H W 3"], labels: PhotoLabels
) -> BranchSample:
    head, camera = labels.parameters
    aligned = align_picture(photo, labels.five_points)
    seen = CameraPose(
        Rotation.from_rotvec(head.global_pose[0].double().numpy()).as_matrix(),
        float(camera.focal_px[0]),
        camera.centre_px[0].double().numpy(),
        camera.translation[0].double().numpy(),
    )
    own = move_camera(seen, labels.root, aligned.from_photo)
    values = {name: value[0].numpy() for name, value in head._asdict().items()}
    values["global_pose"] = rotation_vector(own.rotation)
    points = move_points(aligned.from_photo, labels.points_px.astype(np.float64))
    return BranchSample(
        picture=aligned.picture,
        five_points=aligned.five_points,
        subject=person,
        source=source,
        confidence=labels.confidence,
        points_px=points.astype(np.float32),
        point_confidence=labels.point_confidence,
        **{name: np.asarray(value, np.float32) for name, value in values.items()},
        **camera_arrays(own),
    )
