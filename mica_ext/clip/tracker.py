"""One face through all frames of a video: found once, then followed from frame to frame.

The points of a frame tell where to crop the next one, so the detector runs only where there is no
face to follow: at the start, after a cut, and where the network sees no face any more; then on the
first `TRIES` frames, and after that every `RETRY_S`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from flame_assets.model.head_module import HeadParameters
from mica_ext.clip.candidates import Candidates, IdentityFrame
from mica_ext.clip.cuts import CutDetector
from mica_ext.fitting.lip_seam import lip_gaps
from mica_ext.fitting.teeth import jaw_limits_of_faces
from mica_ext.landmarks.detect import MIN_CONFIDENCE, follow_points
from mica_ext.landmarks.regions import REGIONS
from mica_ext.models.quality import face_luma
from mica_ext.models.types import collate_faces
from mica_ext.preprocess.align_face import DetectedPoints, align_face
from mica_ext.reconstruct import Reconstructor
from mica_ext.video_files.reader import VideoFrame, VideoInfo
from pacofr.errors import UserError as ContentError
from pacofr.faces.align import encoder_crop, ffhq_matrix
from pacofr.faces.boxes import iou
from pacofr.faces.choose import MIN_FACE_PX, FaceChoice, choose_face
from pacofr.faces.detect import Face, detect
from pacofr.faces.face_mesh.topology import IBUG68, LEFT_EYE_OUTER, POINTS, RIGHT_EYE_OUTER
from pacofr.faces.landmarks68 import five_points

LOST_CONFIDENCE = 0.25
"""Probability of a face below which a frame counts as one without."""
TRIES, RETRY_S = 3, 0.2
MOUTH = list(REGIONS).index("mouth")
SAME_FACE_IOU = 0.1
"""Of the boxes of a face before it was lost and of one that is found: it is the same one."""


class TrackedFace(NamedTuple):
    """The face in all N frames; rows of frames without it hold zeros."""

    times_s: Float64[np.ndarray, " N"]
    points_px: Float32[np.ndarray, "N 478 2"]
    """In the upright video's own pixels."""
    visibility: Float32[np.ndarray, "N 7"]
    error: Float32[np.ndarray, "N 7"]
    """As `preprocess.align_face.DetectedPoints` has them."""
    confidence: Float32[np.ndarray, " N"]
    """Probability of a face; 0 where nothing was found."""
    jaw_limit: Float32[np.ndarray, " N"]
    """How far the jaw may be open by the picture between the lips; see `fitting.teeth`."""
    starts: tuple[int, ...]
    """First frames of the shots."""
    expected: HeadParameters | None
    """The movement that the expression network sees; None where the pack has none for the head."""
    candidates: list[IdentityFrame]
    """Frames for the identity."""
    faces_found: int
    """Most faces that were found in one frame."""


class FaceTracker:
    """Told one frame after another."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        info: VideoInfo,
        choice: FaceChoice = "largest",
        min_face: float = MIN_FACE_PX,
    ) -> None:
        self.reconstructor, self.min_face = reconstructor, min_face
        self.choice: FaceChoice = choice
        width, height = info.frame_size
        self.factor = np.array(info.size, np.float32) / [width, height]
        self.cuts, self.candidates = CutDetector(), Candidates()
        self.faces_found = 0
        self._rows: list[tuple[float, DetectedPoints | None]] = []
        self._jaw_limits: list[float] = []
        self._expected: dict[int, HeadParameters] = {}
        self._starts: list[int] = []
        self._points: Float32[np.ndarray, "478 2"] | None = None
        self._box: Float32[np.ndarray, "4"] | None = None
        self._failed, self._retry_s = 0, 0.0

    def add(self, frame: VideoFrame) -> None:
        """Find the face in the next frame."""
        image, number = frame.image, len(self._rows)
        cut = self.cuts.is_cut(image)
        if cut or not number:
            self._starts.append(number)
            self._points = self._box = None
            self._failed, self._retry_s = 0, 0.0
        face = None
        if self._points is not None:
            face = follow_points(self.reconstructor.reader, image, self._points)
        if face is None or face.confidence < MIN_CONFIDENCE:
            face = self._search(frame, face)
        if face is not None and face.confidence < LOST_CONFIDENCE:
            face = None
        self._note(frame, face)

    def result(self) -> TrackedFace:
        """All frames so far."""
        count = len(self._rows)
        points = np.zeros((count, POINTS, 2), np.float32)
        visibility, error = np.zeros((2, count, 7), np.float32)
        confidence = np.zeros(count, np.float32)
        for row, (_, face) in enumerate(self._rows):
            if face is not None:
                points[row] = (face.points_px.numpy() + 0.5) * self.factor - 0.5
                visibility[row], error[row] = face.visibility.numpy(), face.error.numpy()
                confidence[row] = face.confidence
        times = np.array([moment for moment, _ in self._rows], np.float64)
        return TrackedFace(
            times,
            points,
            visibility,
            error,
            confidence,
            np.array(self._jaw_limits, np.float32),
            tuple(self._starts),
            self._movements(),
            self.candidates.best(),
            self.faces_found,
        )

    def _search(self, frame: VideoFrame, followed: DetectedPoints | None) -> DetectedPoints | None:
        """The face as the detector finds it, or as it was followed, by their confidence."""
        if self._failed >= TRIES and frame.time_s < self._retry_s:
            return followed
        self._retry_s = frame.time_s + RETRY_S
        search = self.reconstructor.detect
        if search is detect and (self._failed or self._rows):
            found = detect(frame.image, rotations=False)  # turned views are slow
        else:
            found = search(frame.image)
        self.faces_found = max(self.faces_found, len(found))
        chosen = self._choose(found, frame.image)
        if chosen is None:
            self._failed += 1
            return followed
        face = self.reconstructor.detect_points(frame.image, chosen)
        if followed is not None and followed.confidence >= face.confidence:
            face = followed
        self._failed = 0 if face.confidence >= MIN_CONFIDENCE else self._failed + 1
        return face

    def _choose(self, found: list[Face], image: UInt8[np.ndarray, "H W 3"]) -> Face | None:
        """The face that was followed, if it is among them; else the one that was asked for."""
        if found and self._box is not None:
            overlap = iou(self._box, np.stack([face.box for face in found]))
            if overlap.max() > SAME_FACE_IOU:
                return found[int(overlap.argmax())]
        try:
            return choose_face(found, image, self.choice, min_face=self.min_face)[0]
        except ContentError:  # none, or none so large
            return None

    def _note(self, frame: VideoFrame, face: DetectedPoints | None) -> None:
        number = len(self._rows)
        self._rows.append((frame.time_s, face))
        closed_lips = self.reconstructor.estimator.fitter.closed_lips
        limit = 1.0 if face is None else _jaw_limit(frame.image, face, closed_lips)
        self._jaw_limits.append(limit)
        if face is None:
            self._points = None
            return
        points = face.points_px.numpy()
        box = np.concatenate([points.min(0), points.max(0)]).astype(np.float32)
        self._points, self._box = points, box
        predictor, wanted = self.reconstructor.estimator.predictor, self.candidates.wants
        if predictor is None and not wanted(frame.time_s):
            return
        five = five_points(points[IBUG68].astype(np.float64)).astype(np.float32)
        aligned = align_face(frame.image, Face(box, 1.0, five), lambda *_: face)
        if predictor is not None:
            self._expected[number] = predictor.movement(collate_faces([aligned]))
        if wanted(frame.time_s):
            self.candidates.add(number, frame.time_s, aligned, face_luma(frame.image, box))

    def _movements(self) -> HeadParameters | None:
        if self.reconstructor.estimator.predictor is None:
            return None
        nothing = HeadParameters.zeros(self.reconstructor.head)
        rows = [self._expected.get(number, nothing) for number in range(len(self._rows))]
        return HeadParameters(*(torch.cat(parts) for parts in zip(*rows, strict=True)))


def _jaw_limit(
    image: UInt8[np.ndarray, "H W 3"], face: DetectedPoints, closed_lips: float
) -> float:
    """Of a face in a frame; 1 while its lips are less than `closed_lips` apart."""
    points = face.points_px.double().numpy()
    eyes = np.linalg.norm(points[[LEFT_EYE_OUTER]] - points[[RIGHT_EYE_OUTER]], axis=1)
    if lip_gaps(points[None], eyes) < closed_lips:
        return 1.0
    five = five_points(points[IBUG68])
    crop = torch.from_numpy(encoder_crop(image, five)).permute(2, 0, 1)[None] / 255
    to_frame = torch.from_numpy(cv2.invertAffineTransform(ffhq_matrix(five)))[None].float()
    seen = face.visibility[None, MOUTH]
    return float(jaw_limits_of_faces(crop, to_frame, face.points_px[None], seen))


def track(frames: Iterable[VideoFrame], tracker: FaceTracker) -> TrackedFace:
    """The face in all frames."""
    for frame in frames:
        tracker.add(frame)
    return tracker.result()
