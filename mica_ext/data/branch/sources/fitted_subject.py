"""A person's registrations with their fits, as the adaptors of CoMA and FaMoS use them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from mica_ext.data.branch.alignment import (
    AlignedPicture,
    CameraPose,
    move_camera,
    rotation_vector,
    turned_vertices,
)
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.registrations.fit_files import SubjectFit
from mica_ext.data.registrations.mesh_reader import RefusedMesh, RegistrationReader
from mica_ext.data.skipped import SkipCounter


class FittedFrame(NamedTuple):
    """One registered frame; `vertices` are in the head's frame, before `translation` [m]."""

    row: int
    sequence: str
    frame: str
    vertices: Float64[np.ndarray, "V 3"]
    rotation: Float64[np.ndarray, "3 3"]
    """Global rotation about `root`."""
    root: Float64[np.ndarray, "3"]
    """Root joint at rest [m]."""
    translation: Float64[np.ndarray, "3"]
    """From the head's frame to that of the data set [m]."""


class FittedSubject:
    """Frames of one person by their row in the fit."""

    def __init__(self, head: HeadModel, fit: SubjectFit, reader: RegistrationReader) -> None:
        self.head, self.fit, self.reader = head, fit, reader
        self.decoder = HeadDecoder(head)
        regressor = head.joint_regressor[0].astype(np.float64)
        self.root = regressor @ (head.template + head.shape_basis @ fit.shape)
        self.root_by_expression = np.einsum("v,vck->ck", regressor, head.expression_basis)

    @property
    def name(self) -> str:
        """The person's."""
        return self.fit.about.subject

    def frame(self, row: int, path: Path, skipped: SkipCounter) -> FittedFrame | None:
        """The registration of a row; None, and counted, if its file is none any more."""
        mesh = self.reader(path)
        if isinstance(mesh, RefusedMesh):
            skipped.add(mesh.reason, mesh.text)
            return None
        fits = self.fit.fits
        translation = fits.translation[row].astype(np.float64)
        return FittedFrame(
            row,
            *self.fit.about.frames[row],
            mesh - translation,
            Rotation.from_rotvec(fits.global_pose[row].astype(np.float64)).as_matrix(),
            self.root + self.root_by_expression @ fits.expression[row],
            translation,
        )

    def landmarks(self, vertices: Float[np.ndarray, "V 3"]) -> Float64[np.ndarray, "68 3"]:
        """The 68 landmarks of a mesh, contour of a frontal head."""
        points = self.decoder.frontal_landmarks(torch.from_numpy(vertices[None]).float())
        return points[0].double().numpy()

    def sample(
        self, frame: FittedFrame, aligned: AlignedPicture, camera: CameraPose, source: str
    ) -> BranchSample:
        """The sample of a picture in which the head has the camera's rotation."""
        own = move_camera(camera, frame.root, aligned.from_photo)
        posed = turned_vertices(frame.vertices, frame.root, frame.rotation, own.rotation)
        fits, at = self.fit.fits, frame.row
        return BranchSample(
            picture=aligned.picture,
            five_points=aligned.five_points,
            subject=self.name,
            source=source,
            confidence=1.0,
            shape=self.fit.shape,
            expression=fits.expression[at],
            global_pose=rotation_vector(own.rotation),
            neck_pose=fits.neck_pose[at],
            jaw_pose=fits.jaw_pose[at],
            posed_vertices=posed.astype(np.float32),
            **camera_arrays(own),
        )


def camera_arrays(camera: CameraPose) -> dict[str, Any]:
    """The fields of a sample that a camera fills."""
    return {
        "focal_px": np.array([camera.focal_px], np.float32),
        "centre_px": camera.centre_px.astype(np.float32),
        "translation": camera.translation.astype(np.float32),
    }
