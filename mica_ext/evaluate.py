"""The NoW predictor: `eval-now --predictor mica_ext`, or `mica_ext:FOLDER` for another model pack.

Identity only: the neutral head of the face that the benchmark's box means.
"""

import numpy as np
import torch
from jaxtyping import UInt8

from eval_now.boxes import Box
from eval_now.errors import UserError as BenchmarkError
from eval_now.predictors import NoFaceError, Photo, Predict, Prediction
from flame_assets.errors import UserError as HeadError
from mica_ext.crop import crop_face
from mica_ext.errors import UserError
from mica_ext.parameters import in_pose
from mica_ext.reconstruct import Reconstructor
from pacofr.errors import UserError as FaceError
from pacofr.faces.detect import Face, detect
from pacofr.images import load_image

BOX_MARGIN = 1.6  # of the box's size: the crop that DECA and MICA use on this benchmark


def now_predictor(model: str | None = None) -> Predict:
    """Load a model pack ("auto" without a name) and return what predicts one photo."""
    try:
        reconstructor = Reconstructor.load(model or "auto")
    except (UserError, HeadError, FaceError) as error:
        raise BenchmarkError(str(error)) from None
    return lambda photo: predict(reconstructor, photo)


@torch.inference_mode()
def predict(reconstructor: Reconstructor, photo: Photo) -> Prediction:
    """The neutral head of the photo's face, in metres."""
    try:
        image = load_image(photo.path)
    except FaceError as error:
        raise BenchmarkError(str(error)) from None
    face = find_face(image, photo.box)
    if face is None and photo.box is not None:
        image = around(image, photo.box)
        face = find_face(image, None)
    if face is None:
        raise NoFaceError("no face found, neither in the photo nor in its box")
    height, width = image.shape[:2]
    estimate = reconstructor.model([crop_face(image, face)], (height, width))
    mesh = reconstructor.flame(in_pose(estimate.parameters.head, "neutral"))
    return Prediction(
        vertices=mesh.vertices[0].double().numpy(),
        triangles=reconstructor.head.triangles.astype(np.int64),
        landmarks=mesh.landmarks7[0].double().numpy(),
        unit="m",
        neutral=True,
    )


def find_face(image: UInt8[np.ndarray, "H W 3"], box: Box | None) -> Face | None:
    """The detected face that overlaps the box most; without a box the largest."""
    faces = detect(image)
    if box is None or not faces:
        return faces[0] if faces else None
    best = max(faces, key=lambda face: overlap(face, box))
    return best if overlap(best, box) > 0 else None


def overlap(face: Face, box: Box) -> float:
    """Intersection over union of a detection and a box."""
    x0, y0, x1, y1 = (float(value) for value in face.box)
    wide = max(0.0, min(x1, box.right) - max(x0, box.left))
    high = max(0.0, min(y1, box.bottom) - max(y0, box.top))
    box_area = (box.right - box.left) * (box.bottom - box.top)
    return wide * high / ((x1 - x0) * (y1 - y0) + box_area - wide * high)


def around(image: UInt8[np.ndarray, "H W 3"], box: Box) -> UInt8[np.ndarray, "h w 3"]:
    """The part of the photo around the box."""
    half = BOX_MARGIN * ((box.right - box.left) + (box.bottom - box.top)) / 4
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    rows = slice(max(0, round(y - half)), max(1, round(y + half)))
    columns = slice(max(0, round(x - half)), max(1, round(x + half)))
    part = image[rows, columns]
    return np.ascontiguousarray(part) if part.size else image
