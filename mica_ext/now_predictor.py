"""The NoW predictor: `eval-now --predictor mica_ext`, or `mica_ext:PACK` for another model pack.

It predicts identity only: the neutral head of the face that the benchmark's box marks.
`mica_ext:PACK,detector=mica` detects as MICA's own run on NoW does (`tester.py`): SCRFD, around the
box.
"""

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from jaxtyping import UInt8

from eval_now.data.boxes import Box
from eval_now.errors import UserError as BenchmarkError
from eval_now.predictions.predictors import NoFaceError, Photo, Predict, Prediction
from flame_assets.errors import UserError as HeadError
from flame_assets.model.fingerprint import fingerprint as head_fingerprint
from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.export.face_json import Source
from mica_ext.models.pose import in_pose
from mica_ext.preprocess.given_face import face_in_box
from mica_ext.reconstruct import DetectorChoice, Reconstructor
from pacofr.errors import UserError as FaceError
from pacofr.faces.boxes import iou
from pacofr.faces.detect import Face
from pacofr.images import load_image

FaceDetector = Callable[[UInt8[np.ndarray, "H W 3"]], list[Face]]
"""Faces of an RGB photo, largest first."""
DETECTOR_OPTION = ",detector="
MICA_MARGIN = 1.6
"""Side of the square that MICA detects in, in the box's mean side."""


def now_predictor(argument: str | None = None) -> Predict:
    """The predictor of `PACK`, `PACK,detector=mica` or `,detector=mica`; without a pack "auto".

    Raises:
        BenchmarkError: if the pack, its head or the detector cannot be loaded.
    """
    model, _, chosen = (argument or "").partition(DETECTOR_OPTION)
    if chosen not in ("", "mtcnn", "mica"):
        raise BenchmarkError(
            f"--predictor mica_ext:{argument}: expected detector=mtcnn or detector=mica"
        )
    detector: DetectorChoice = "mica" if chosen == "mica" else "mtcnn"
    try:
        reconstructor = Reconstructor.load(model or "auto", detector=detector)
    except (UserError, HeadError, FaceError) as error:
        raise BenchmarkError(str(error)) from None
    made_with = reconstructor.provenance
    version_text = fingerprint(reconstructor.head, made_with.weights)
    if made_with.identity is not None:
        version_text += f", {made_with.identity.name} {made_with.identity.version}"
    if detector != "mtcnn":
        version_text += f", {made_with.detector.name} {made_with.detector.version}"
    return NowPredictor(reconstructor, version_text, near_box=detector == "mica")


class NowPredictor:
    """Predicts one photo per call; `fingerprint` identifies the model in stored predictions."""

    def __init__(
        self, reconstructor: Reconstructor, fingerprint: str, *, near_box: bool = False
    ) -> None:
        self.reconstructor = reconstructor
        self.fingerprint = fingerprint
        self.near_box = near_box

    def __call__(self, photo: Photo) -> Prediction:
        """The neutral head of the photo's face, in metres."""
        return predict(self.reconstructor, photo, near_box=self.near_box)


def fingerprint(head: HeadModel, weights: Source) -> str:
    """Versions of everything that a prediction depends on, with sums of the head's arrays.

    `same_fingerprint` compares the sums with a tolerance: their last bits depend on the processor.
    """
    sums = head_fingerprint(head)
    own = (sums.template, sums.shape_basis, sums.landmarks)
    return (
        f"pacofr {version('pacofr')}, {head.name} {head.version} "
        f"{' '.join(f'{value:.6f}' for value in own)}, {weights.name} {weights.version}"
    )


@torch.inference_mode()
def predict(reconstructor: Reconstructor, photo: Photo, *, near_box: bool = False) -> Prediction:
    """The neutral head of the photo's face, in metres.

    Args:
        reconstructor: the method.
        photo: of the benchmark.
        near_box: detect in the square of MICA_MARGIN around the photo's box, not in the whole
            photo.

    Raises:
        NoFaceError: if no face is found and the data set has no box for the photo.
        BenchmarkError: if the photo cannot be read.
    """
    try:
        image = load_image(photo.path)
    except FaceError as error:
        raise BenchmarkError(str(error)) from None
    find = find_face_near if near_box else find_face
    face = find(reconstructor.detect, image, photo.box)
    if face is None:
        if photo.box is None:
            raise NoFaceError("no face found, and the data has no box for this photo")
        face = frontal_face_in(photo.box)  # the benchmark's box stands in for the detection
    aligned = reconstructor.align(image, [face])
    estimate = reconstructor.estimator(aligned, reconstructor.identity_of(aligned))
    mesh = reconstructor.decoder(in_pose(estimate.parameters.head, "neutral"))
    return Prediction(
        vertices=mesh.vertices[0].double().numpy(),
        triangles=reconstructor.head.triangles.astype(np.int64),
        landmarks=mesh.landmarks7[0].double().numpy(),
        unit="m",
        neutral=True,
    )


def find_face(
    detect: FaceDetector, image: UInt8[np.ndarray, "H W 3"], box: Box | None
) -> Face | None:
    """The detected face that overlaps the box most; without a box the largest."""
    faces = detect(image)
    if box is None or not faces:
        return faces[0] if faces else None
    edges = np.array([box.left, box.top, box.right, box.bottom])
    overlaps = iou(edges, np.stack([face.box for face in faces]))
    best = int(overlaps.argmax())
    return faces[best] if overlaps[best] > 0 else None


def find_face_near(
    detect: FaceDetector, image: UInt8[np.ndarray, "H W 3"], box: Box | None
) -> Face | None:
    """`find_face` in the square of MICA_MARGIN around the box, where there is one.

    MICA resamples the square to 224 pixels and detects and crops there; here the detector alone
    resamples, and crops are cut out of the photo.
    """
    if box is None:
        return find_face(detect, image, None)
    half = MICA_MARGIN * ((box.right - box.left) + (box.bottom - box.top)) / 4
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    height, width = image.shape[:2]
    x0, y0 = (int(np.clip(middle - half, 0, side)) for middle, side in ((x, width), (y, height)))
    x1, y1 = (int(np.clip(middle + half, 0, side)) for middle, side in ((x, width), (y, height)))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    inside = Box(box.left - x0, box.top - y0, box.right - x0, box.bottom - y0)
    face = find_face(detect, np.ascontiguousarray(image[y0:y1, x0:x1]), inside)
    if face is None:
        return None
    offset = np.array([x0, y0], np.float32)
    return face._replace(box=face.box + np.tile(offset, 2), points=face.points + offset)


def frontal_face_in(box: Box) -> Face:
    """A frontal face that fills the box, as a first guess for the landmark network."""
    guess = face_in_box((box.left, box.top, box.right, box.bottom)).face
    return guess._replace(score=0.0)
