"""Find the faces of a photo: upright or turned, filling the frame, or small in a large photo."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from pacofr.faces.align import ARCFACE_PX, arcface_matrix
from pacofr.faces.boxes import iou
from pacofr.faces.mtcnn.cascade import Detections, load_mtcnn


class Detector(NamedTuple):
    """What faces are found with."""

    name: str
    version: str
    licence: str


DETECTOR = Detector("MTCNN", "1.0.0", "weights of the mtcnn 1.0.0 wheel, MIT")
SEARCH_SIDES = (640, 1024)
"""Photos are shrunk to the first long side, and to the second where nothing was found [px]."""
SEARCH_MIN_FACE = (24.0, 20.0)
"""Smallest box looked for at these sizes [px]."""
MIN_SCORE = 0.9
"""MTCNN detections below this are noise."""
CONFIDENT_SCORE = 0.985
"""Below this the photo may be a turned one (95% of upright faces lie above, 10% of turned)."""
ROTATION_MARGIN = 0.03
"""A turned view wins over the upright one by this much more of `Face.upright_score`."""
MAX_UPRIGHT_ROLL = 40.0
"""Roll [degrees] beyond which five points speak for a turned photo."""
INNER_MARGIN = 0.15
"""Least distance from the photo's border to the middle of a face found by padding, in its sizes."""
SAME_FACE_IOU = 0.3
"""Overlap from which on two searches have found the same face."""


class Face(NamedTuple):
    """A detected face in the photo's pixels."""

    box: Float32[np.ndarray, "4"]
    """x0, y0, x1, y1; may reach beyond the photo."""
    score: float
    """Detector's confidence, 0 to 1."""
    points: Float32[np.ndarray, "5 2"]
    """(x, y): left eye, right eye, nose tip, left and right mouth corner as the viewer sees an
    upright face; for a face upside down, the same after turning it upright."""

    @property
    def size(self) -> float:
        """Square root of the box's area [px]."""
        width, height = self.box[2:] - self.box[:2]
        return float(np.sqrt(max(width, 0.0) * max(height, 0.0)))

    @property
    def roll_degrees(self) -> float:
        """Clockwise rotation in the image plane by the five points; about 180: upside down."""
        matrix = arcface_matrix(self.points)  # photo -> upright template
        return float(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])))

    @property
    def upright_score(self) -> float:
        """Score, less a half where the five points do not lie in the box as an upright face's."""
        template_size = np.hypot(*arcface_matrix(self.points)[0, :2]) * self.size
        upright = abs(self.roll_degrees) < MAX_UPRIGHT_ROLL and template_size < ARCFACE_PX
        return self.score if upright else self.score - 0.5


def detect(
    image: UInt8[np.ndarray, "H W 3"],
    *,
    min_face: float | None = None,
    min_score: float = MIN_SCORE,
    rotations: bool = True,
) -> list[Face]:
    """Faces of an RGB photo, largest first, in the photo's pixels.

    The photo is searched shrunk to 640 px, then to 1024 px, then with its borders mirrored (faces
    that fill or touch the frame are missed otherwise), until there is a face.

    Args:
        image: the photo.
        min_face: look for every face from this size on [px], however large the photo: for group
            photos. None: only down to `smallest_searched(image.shape)`.
        min_score: least confidence of a detection.
        rotations: where the upright photo shows no confident face, try it turned by 90, 270 and
            180 degrees, too; the best of the four views counts.
    """
    faces = _search_upright(image, min_score)
    if min_face is not None:
        faces = _merge(faces, _search_all_sizes(image, min_face, min_score))
    if faces and (not rotations or _best_upright_score(faces) >= CONFIDENT_SCORE):
        return faces
    margin = ROTATION_MARGIN if faces else -ROTATION_MARGIN  # turned, or mirrored at its borders?
    faces = faces or _search_padded(image, min_score)
    return _search_rotated(image, faces, margin, min_score) if rotations else faces


def smallest_searched(image_shape: tuple[int, ...], min_face: float | None = None) -> float:
    """The smallest face that `detect` looks for in a photo of this shape [px of the photo]."""
    sides = zip(SEARCH_SIDES, SEARCH_MIN_FACE, strict=True)
    quick = [least * max(max(image_shape[:2]) / side, 1.0) for side, least in sides]
    return min(quick) if min_face is None else min(*quick, max(min_face, SEARCH_MIN_FACE[1]))


def detect_batch(
    images: Sequence[np.ndarray], *, min_face: float, min_score: float = MIN_SCORE
) -> list[list[Face]]:
    """Upright faces of many RGB photos, largest first; photos of one shape share their batches.

    `min_face` is the smallest box looked for, in the photos' pixels: larger is faster.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(image.shape, []).append(number)
    faces: list[list[Face]] = [[] for _ in images]
    for numbers in groups.values():
        small, scales = zip(*(_shrink(images[i], SEARCH_SIDES[1]) for i in numbers), strict=True)
        least = max(min_face / scales[0], SEARCH_MIN_FACE[1])
        found = load_mtcnn()(np.stack(small), least)
        for row, number in enumerate(numbers):
            own = Detections(*(field[found.image == row] for field in found))
            faces[number] = _to_faces(own, min_score, scales[row])
    return faces


def _search_upright(image: UInt8[np.ndarray, "H W 3"], min_score: float) -> list[Face]:
    faces: list[Face] = []
    for long_side, least in zip(SEARCH_SIDES, SEARCH_MIN_FACE, strict=True):
        small, scale = _shrink(image, long_side)
        faces = _to_faces(load_mtcnn()(small[None], least), min_score, scale)
        if faces or scale == 1.0:
            break
    return faces


def _search_all_sizes(
    image: UInt8[np.ndarray, "H W 3"], min_face: float, min_score: float
) -> list[Face]:
    """Every face from `min_face` [px] on: the photo is shrunk until that is just found."""
    least = SEARCH_MIN_FACE[0] if min_face >= SEARCH_MIN_FACE[0] else SEARCH_MIN_FACE[1]
    small, scale = _shrink(image, max(round(max(image.shape[:2]) * min(least / min_face, 1.0)), 1))
    return _to_faces(load_mtcnn()(small[None], max(min_face / scale, least)), min_score, scale)


def _search_padded(image: UInt8[np.ndarray, "H W 3"], min_score: float) -> list[Face]:
    """Faces of the photo with half its size mirrored at each border."""
    small, scale = _shrink(image, SEARCH_SIDES[0] // 2)
    height, width = small.shape[:2]
    top, left = height // 2, width // 2
    wide = cv2.copyMakeBorder(small, top, top, left, left, cv2.BORDER_REFLECT_101)
    offset = np.array([left, top], np.float32)

    def to_photo(face: Face) -> Face:
        moved = Face(face.box - np.tile(offset, 2), face.score, face.points - offset)
        return _scaled(moved, scale)

    found = [to_photo(f) for f in _to_faces(load_mtcnn()(wide[None], 24.0), min_score, 1.0)]
    return [face for face in found if _lies_inside(face, image.shape)]


def _lies_inside(face: Face, shape: tuple[int, ...]) -> bool:
    """Whether a face's middle is in the photo, clear of the border, where the mirroring makes
    symmetrical patterns that look like faces."""
    middle, border = face.points.mean(axis=0), INNER_MARGIN * face.size
    return bool((middle > border).all() and (middle < np.array(shape[1::-1]) - border).all())


def _search_rotated(
    image: UInt8[np.ndarray, "H W 3"], upright: list[Face], margin: float, min_score: float
) -> list[Face]:
    """Faces of the best of the four views; a turned one wins over `upright` by `margin`."""
    small, scale = _shrink(image, SEARCH_SIDES[0])
    best, best_score = upright, _best_upright_score(upright)
    for quarters in (1, 3, 2):
        view = load_mtcnn()(np.rot90(small, quarters)[None], SEARCH_MIN_FACE[0])
        found = _to_faces(view, min_score, 1.0)
        if _best_upright_score(found) > best_score + (margin if best is upright else 0.0):
            back = [_rotated_back(face, quarters, small.shape) for face in found]
            best, best_score = [_scaled(f, scale) for f in back], _best_upright_score(found)
    return best


def _best_upright_score(faces: list[Face]) -> float:
    return max((face.upright_score for face in faces), default=0.0)


def _merge(faces: list[Face], others: list[Face]) -> list[Face]:
    """The faces, and those others that overlap none of them, largest first."""
    boxes = np.stack([face.box for face in faces]) if faces else np.zeros((0, 4), np.float32)
    new = [f for f in others if iou(f.box, boxes).max(initial=0.0) < SAME_FACE_IOU]
    return sorted(faces + new, key=lambda face: -face.size)


def _shrink(
    image: UInt8[np.ndarray, "H W 3"], long_side: int
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """The photo at no more than `long_side`, and the factor back to its own pixels."""
    height, width = image.shape[:2]
    scale = max(height, width) / long_side
    if scale <= 1:
        return image, 1.0
    size = (max(round(width / scale), 1), max(round(height / scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _to_faces(found: Detections, min_score: float, scale: float) -> list[Face]:
    faces = [
        _scaled(Face(box, float(score), points), scale)
        for box, score, points in zip(found.boxes, found.scores, found.points, strict=True)
        if score >= min_score
    ]
    return sorted(faces, key=lambda face: -face.size)


def _scaled(face: Face, scale: float) -> Face:
    if scale == 1.0:
        return face
    box, points = face.box * scale, (face.points + 0.5) * scale - 0.5
    return Face(box.astype(np.float32), face.score, points.astype(np.float32))


def _rotated_back(face: Face, quarters: int, shape: tuple[int, ...]) -> Face:
    """A face found in `np.rot90(photo, quarters)` in the pixels of the photo of this shape."""
    height, width = shape[:2]
    corners = face.box.reshape(2, 2)
    points = face.points + 0.5
    for _ in range(quarters):  # undo one counter-clockwise quarter turn at a time
        quarters -= 1
        side = width if quarters % 2 == 0 else height
        corners = np.stack([side - corners[:, 1], corners[:, 0]], 1)
        points = np.stack([side - points[:, 1], points[:, 0]], 1)
    box = np.concatenate([corners.min(0), corners.max(0)])
    return Face(box.astype(np.float32), face.score, (points - 0.5).astype(np.float32))
