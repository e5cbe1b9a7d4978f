"""What an expression network reads in annotated photos: landmarks, movements, dense points."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder
from flame_assets.model.lbs import rotation_matrices
from mica_ext.errors import UserError
from mica_ext.expression.predictor import ExpressionPredictor
from mica_ext.expression.training.skin_points import SkinPoints
from mica_ext.landmarks.annotated_photos import match_face, read_labelled
from mica_ext.models.projection import project
from mica_ext.models.types import AlignedFace, FaceParameters
from mica_ext.reconstruct import Reconstructor
from pacofr.faces.face_mesh.topology import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, SKIN_POINTS
from pacofr.faces.landmarks68 import (
    brow_raise,
    eye_aspect_ratio,
    mouth_opening,
    mouth_width,
    nme,
)
from pacofr.utils.progress import track

MOVEMENTS = {
    "eye openness": lambda points: eye_aspect_ratio(points).mean(1),
    "mouth opening": mouth_opening,
    "mouth width": mouth_width,
    "brow raise": brow_raise,
}
"""What faces do, measured on 68 landmarks [N,68,2]."""


class PhotoErrors(NamedTuple):
    """What one network made of the photos."""

    nme: Float64[np.ndarray, " P"]
    """Of the head's 68 landmarks [% of the outer eye corners' distance]."""
    dense: Float64[np.ndarray, " P"]
    """Of the head's 468 points of skin, to those that the product's points network finds [%]."""
    movements: dict[str, Float64[np.ndarray, "2 P"]]
    """Each of `MOVEMENTS` as found and as marked."""


class DensePoints:
    """The 468 points of Face Mesh's skin on a head, in photos."""

    def __init__(self, decoder: HeadDecoder) -> None:
        """Find them on the neutral head."""
        skin = SkinPoints(decoder)
        kept = np.union1d(decoder.landmark_head().vertex_ids, skin.vertex_ids)
        self.decoder, self.skin = HeadDecoder(decoder.head, vertices=kept), skin.among(kept)

    @torch.no_grad()
    def project(self, parameters: FaceParameters) -> Float[Tensor, "B 468 2"]:
        """Where they fall [px]; the neck is at rest."""
        head, camera = parameters
        mesh = self.decoder(head._replace(global_pose=torch.zeros_like(head.global_pose)))
        root, rotation = mesh.joints[:, :1], rotation_matrices(head.global_pose)
        points = (self.skin(mesh.vertices) - root) @ rotation.transpose(1, 2) + root
        return project(camera, points)


class JudgedPhotos:
    """Annotated photos, their faces cropped once for all networks."""

    def __init__(self, folder: Path, reconstructor: Reconstructor) -> None:
        """Detect and crop the faces of FOLDER's photos with .pts files.

        Raises:
            UserError: there are none, a file cannot be read, or no marked face is detected.
        """
        self.faces: list[AlignedFace] = []
        marks = []
        for _, photo in track(read_labelled(folder), "photos"):
            face = match_face(photo)
            if face is not None:
                self.faces.append(reconstructor.align(photo.image, [face]))
                marks.append(photo.points)
        if not marks:
            raise UserError(f"{folder}: expected photos of faces, no marked face was detected")
        self.truth = np.stack(marks).astype(np.float64)
        self.dense = DensePoints(reconstructor.decoder)

    @torch.no_grad()
    def measure(self, predictor: ExpressionPredictor) -> PhotoErrors:
        """Errors of a network alone, on the mean head."""
        landmarks, dense = [], []
        for face in self.faces:
            found = predictor(face)
            mesh = predictor.small(found.head)
            landmarks.append(project(found.camera, mesh.landmarks)[0].double().numpy())
            points = face.points_px[0]
            apart = (self.dense.project(found)[0] - points[:SKIN_POINTS]).norm(dim=-1).mean()
            unit = (points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER]).norm()
            dense.append(100 * float(apart / unit))
        found_points = np.stack(landmarks)
        movements = {
            name: np.stack([measure(points) for points in (found_points, self.truth)])
            for name, measure in MOVEMENTS.items()
        }
        return PhotoErrors(nme(found_points, self.truth), np.array(dense), movements)
