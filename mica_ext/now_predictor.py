"""The NoW predictor: `eval-now --predictor mica_ext`, or `mica_ext:FOLDER` for another model pack.

It predicts identity only: the neutral head of the face that the benchmark's box marks.
"""

import math
from importlib.metadata import version

import numpy as np
import torch
from jaxtyping import UInt8

from eval_now.data.boxes import Box
from eval_now.data.predictors import NoFaceError, Photo, Predict, Prediction
from eval_now.errors import UserError as BenchmarkError
from flame_assets.errors import UserError as HeadError
from flame_assets.model.fingerprint import fingerprint as head_fingerprint
from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.export.face_json import Source
from mica_ext.models.pose import in_pose
from mica_ext.preprocess.given_face import face_in_box
from mica_ext.reconstruct import Reconstructor
from pacofr.errors import UserError as FaceError
from pacofr.faces.boxes import iou
from pacofr.faces.detect import Face, detect
from pacofr.images import load_image


def now_predictor(model: str | None = None) -> Predict:
    """The predictor of a model pack ("auto" without a name).

    Raises:
        BenchmarkError: if the pack or its head cannot be loaded.
    """
    try:
        reconstructor = Reconstructor.load(model or "auto")
    except (UserError, HeadError, FaceError) as error:
        raise BenchmarkError(str(error)) from None
    version_text = fingerprint(reconstructor.head, reconstructor.provenance.weights)
    if (identity := reconstructor.provenance.identity) is not None:
        version_text += f", {identity.name} {identity.version}"
    return NowPredictor(reconstructor, version_text)


class NowPredictor:
    """Predicts one photo per call; `fingerprint` identifies the model in stored predictions."""

    def __init__(self, reconstructor: Reconstructor, fingerprint: str) -> None:
        self.reconstructor = reconstructor
        self.fingerprint = fingerprint

    def __call__(self, photo: Photo) -> Prediction:
        """The neutral head of the photo's face, in metres."""
        return predict(self.reconstructor, photo)


def fingerprint(head: HeadModel, weights: Source) -> str:
    """Versions of everything that a prediction depends on, with sums of the head's arrays.

    The sums are cut to five decimals: they agree across processors, as a checksum would not.
    """
    sums = head_fingerprint(head)
    cut = (math.floor(1e5 * s) / 1e5 for s in (sums.template, sums.shape_basis, sums.landmarks))
    return (
        f"pacofr {version('pacofr')}, {head.name} {head.version} "
        f"{' '.join(f'{value:.5f}' for value in cut)}, {weights.name} {weights.version}"
    )


@torch.inference_mode()
def predict(reconstructor: Reconstructor, photo: Photo) -> Prediction:
    """The neutral head of the photo's face, in metres.

    Raises:
        NoFaceError: if no face is found and the data set has no box for the photo.
        BenchmarkError: if the photo cannot be read.
    """
    try:
        image = load_image(photo.path)
    except FaceError as error:
        raise BenchmarkError(str(error)) from None
    face = find_face(image, photo.box)
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


def find_face(image: UInt8[np.ndarray, "H W 3"], box: Box | None) -> Face | None:
    """The detected face that overlaps the box most; without a box the largest."""
    faces = detect(image)
    if box is None or not faces:
        return faces[0] if faces else None
    edges = np.array([box.left, box.top, box.right, box.bottom])
    overlaps = iou(edges, np.stack([face.box for face in faces]))
    best = int(overlaps.argmax())
    return faces[best] if overlaps[best] > 0 else None


def frontal_face_in(box: Box) -> Face:
    """A frontal face that fills the box, as a first guess for the landmark network."""
    guess = face_in_box((box.left, box.top, box.right, box.bottom)).face
    return guess._replace(score=0.0)
