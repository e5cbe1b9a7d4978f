"""Photo in, expressive 3D face out:

from mica_ext import Reconstructor

face = Reconstructor.load("auto")("photo.jpg")
face.save("mesh.obj")
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.fingerprint import as_text, fingerprint
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadMesh
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.estimator import FaceEstimator, FitChoice
from mica_ext.export.face_json import ModelPack, Provenance, Source
from mica_ext.expression.predictor import ExpressionPredictor
from mica_ext.expression.weights import read_expression_config, require_head
from mica_ext.fitting.correspondence.calibration import load_calibration
from mica_ext.identity.predictor import IdentityPredictor, require_own_head
from mica_ext.identity.same_person import PersonIdentity, merge_identities
from mica_ext.identity.weights import read_identity_config
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import PointChoice, open_reader
from mica_ext.landmarks.regions import REGIONS
from mica_ext.models.pack import EXPRESSION, SHIPPED, Pack, find_pack, load_pack
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.quality import FaceSignals, assess_quality, face_luma, roll_degrees
from mica_ext.models.types import AlignedFace, collate_faces
from mica_ext.preprocess.align_face import align_face
from mica_ext.preprocess.given_face import GivenFace
from mica_ext.preprocess.scrfd import ScrfdDetector
from mica_ext.reconstruction import Reconstruction, RgbImage
from mica_ext.render.rasterizers import choose_rasterizer
from pacofr.engine.device import choose_device
from pacofr.faces.choose import MIN_FACE_PX, FaceChoice, choose_face
from pacofr.faces.detect import DETECTOR, Face, detect, smallest_searched
from pacofr.images import load_image

DetectorChoice = Literal["mtcnn", "mica"]
"""MTCNN, or MICA's: SCRFD at 224 pixels through insightface."""
IdentityChoice = Literal["mica", "fit"]
"""Where the identity comes from: the pack's identity network, or the fit to the points."""


class Reconstructor:
    """A loaded model pack with its head; call it with photos."""

    def __init__(
        self,
        pack: Pack,
        head: HeadModel,
        device: torch.device,
        *,
        identity: IdentityChoice | None = None,
        points: PointChoice = "auto",
        detector: DetectorChoice = "mtcnn",
        fit: FitChoice = "full",
    ) -> None:
        self.head = head
        scrfd = ScrfdDetector() if detector == "mica" else None
        self.detect = scrfd or detect
        self.rasterizer = choose_rasterizer(device)
        self.identity = _identity_predictor(pack, head, device, identity)
        self.decoder = HeadDecoder(head)
        self.head_fingerprint = fingerprint(head)
        self.reader = open_reader(points, pack.landmarks, device)
        self.detect_points = partial(detect_points, self.reader)
        predictor = _expression_predictor(pack, self.decoder, device, fit)
        calibration = load_calibration(self.reader.calibration)
        self.estimator = FaceEstimator(self.decoder, calibration, predictor, fit)
        self.provenance = Provenance(
            head=Source(head.name, head.version, head.licence),
            weights=self.reader.source,
            detector=Source(*(scrfd.source if scrfd else DETECTOR)),
            model=ModelPack(pack.name, pack.licence),
            identity=_source(self.identity),
            expression=_source(predictor),
        )

    @property
    def head_geometry(self) -> str:
        """Sums of the head's arrays, to be compared with a tolerance."""
        return as_text(self.head_fingerprint)

    @classmethod
    def load(
        cls,
        model: str | Path = "auto",
        *,
        head: str | None = None,
        device: str = "cpu",
        identity: IdentityChoice | None = None,
        points: PointChoice = "auto",
        detector: DetectorChoice = "mtcnn",
        fit: FitChoice = "full",
    ) -> "Reconstructor":
        """Load a model pack (see `models.pack.find_pack`) and its head, or `head` in its place.

        Args:
            model: the pack.
            head: by name or folder.
            device: of the networks.
            identity: where the identity comes from; None: the pack's identity network, if it has
                one for this head.
            points: whose points the fit reads.
            detector: finds the faces.
            fit: "full" fits all parameters to the points, starting from what the pack's expression
                network sees where it has one for this head; "none" takes what it sees, with "auto"
                the shipped network for Anthro.

        Raises:
            UserError: if pack, head, identity or expression network, points, device or detector
                cannot be used.
        """
        if fit == "none" and str(model) == "auto" and find_pack() == SHIPPED:
            model = EXPRESSION
        pack = load_pack(model)
        head_model = load_head(head or pack.head)
        return cls(
            pack,
            head_model,
            choose_device(device),
            identity=identity,
            points=points,
            detector=detector,
            fit=fit,
        )

    def __call__(
        self,
        photo: str | Path | RgbImage,
        *,
        face: FaceChoice = "largest",
        pose: Pose = "expressive",
    ) -> Reconstruction:
        """Reconstruct one face; the largest unless `face` says else."""
        return self.faces(photo, face, pose)[0]

    def identity_of(
        self, faces: AlignedFace, person: PersonIdentity | None = None
    ) -> Float[Tensor, "B S"] | None:
        """Identity coefficients that the fit keeps: a person's, or the network's; None without."""
        if person is not None:
            return person.identity.shape.expand(len(faces.arcface), -1)
        return None if self.identity is None else self.identity(faces.arcface).shape

    def merge_photos(
        self,
        photos: Sequence[str | Path | RgbImage],
        which: FaceChoice = "largest",
        *,
        min_face: float | None = None,
    ) -> PersonIdentity:
        """The one identity of several photos of a person, one face of each.

        Raises:
            UserError: there is no identity network, a photo cannot be used, or it shows another
                person.
        """
        if self.identity is None:
            raise UserError(
                "one identity for several photos needs MICA's identity network: make a pack with "
                "`mica-ext import mica.tar` and get FLAME 2020"
            )
        faces, names = [], []
        for number, photo in enumerate(photos):
            image = photo if isinstance(photo, np.ndarray) else load_image(photo)
            found = self.detect(image, min_face=min_face)
            least = MIN_FACE_PX if min_face is None else min_face
            faces.append(self.align(image, choose_face(found, image, which, min_face=least)[:1]))
            names.append(f"photo {number}" if isinstance(photo, np.ndarray) else str(photo))
        crops = torch.cat([face.arcface for face in faces])
        landmarks = torch.cat([face.landmarks_px for face in faces])
        return merge_identities(self.identity, self.decoder, crops, landmarks, names)

    def align(
        self, image: RgbImage, faces: Sequence[Face], *, exact_points: bool = False
    ) -> AlignedFace:
        """Crops and landmarks of faces, as a batch for the estimator; see `align_face`."""
        return collate_faces(
            [
                align_face(image, face, self.detect_points, exact_points=exact_points)
                for face in faces
            ]
        )

    @torch.no_grad()
    def faces(
        self,
        photo: str | Path | RgbImage,
        which: FaceChoice = "all",
        pose: Pose = "expressive",
        *,
        min_face: float | None = None,
        person: PersonIdentity | None = None,
        given: GivenFace | None = None,
    ) -> list[Reconstruction]:
        """Reconstruct the faces asked for, largest first; at least one.

        Args:
            photo: a file, or an RGB image.
            which: "largest", "center" (of the photo), "all", or a number from 0, the largest.
            pose: how much of the movement the meshes show.
            min_face: smallest face [px]; if given, or for "all", the photo is searched down to it,
                however large it is.
            person: the identity of `merge_photos`, for photos of that person.
            given: the one face, where its place is known (`preprocess.given_face`): nothing is
                detected then.

        Raises:
            UserError: if the photo cannot be read, has no face, or not the one asked for.
        """
        image = photo if isinstance(photo, np.ndarray) else load_image(photo)
        least = MIN_FACE_PX if min_face is None else min_face
        search = least if which == "all" else min_face
        if given is not None:
            chosen = found = [given.face]
        else:
            found = self.detect(image, min_face=search)
            chosen = choose_face(found, image, which, min_face=least)
        aligned = self.align(image, chosen, exact_points=given is not None and given.exact_points)
        estimate = self.estimator(aligned, self.identity_of(aligned, person))
        meshes = self.decoder(in_pose(estimate.parameters.head, pose))
        height, width = image.shape[:2]
        reconstructions = []
        for index, face in enumerate(chosen):
            landmarks = aligned.landmarks_px[index]
            signals = FaceSignals(
                score=face.score,
                confidence=float(aligned.confidence[index]),
                visibility=dict(zip(REGIONS, aligned.visibility[index].tolist(), strict=True)),
                residual=float(estimate.residual[index]),
                size_px=float(max(face.box[2:] - face.box[:2])),
                luma=face_luma(image, face.box),
                roll_degrees=roll_degrees(landmarks.numpy()),
            )
            reconstructions.append(
                Reconstruction(
                    parameters=estimate.parameters.select(index),
                    mesh=HeadMesh(*(values[index : index + 1] for values in meshes)),
                    pose=pose,
                    decoder=self.decoder,
                    head_fingerprint=self.head_fingerprint,
                    points_px=aligned.points_px[index],
                    landmarks_px=landmarks,
                    face=face,
                    faces_found=len(found),
                    smallest_searched=max(smallest_searched(image.shape, search), least),
                    photo_size=(width, height),
                    signals=signals,
                    quality=assess_quality(signals),
                    provenance=self.provenance,
                    rasterizer=self.rasterizer,
                )
            )
        return reconstructions


def _identity_predictor(
    pack: Pack, head: HeadModel, device: torch.device, choice: IdentityChoice | None
) -> IdentityPredictor | None:
    if choice == "fit":
        return None
    if pack.identity is None:
        if choice is None:
            return None
        raise UserError(
            f"--identity mica: the pack {pack.name} has no identity network: make one with "
            "`mica-ext import mica.tar`, and name it with --model mica"
        )
    if choice is None:
        try:
            about = read_identity_config(pack.identity)
            require_own_head(about.name, about.template, about.shape_basis, head)
        except UserError:
            return None
    return IdentityPredictor(pack.identity, head, device)


def _expression_predictor(
    pack: Pack, decoder: HeadDecoder, device: torch.device, fit: FitChoice
) -> ExpressionPredictor | None:
    if pack.expression is None:
        if fit == "full":
            return None
        raise UserError(
            f"--fit none: the pack {pack.name} has no expression network: take --model "
            f"{EXPRESSION}, or make one with `mica-ext train` and `mica-ext pack --expression "
            "RUN/model`"
        )
    if fit == "full":
        about = read_expression_config(pack.expression)
        try:
            require_head(about, pack.expression, decoder.head)
        except UserError:
            return None
    return ExpressionPredictor(pack.expression, decoder, device)


def _source(predictor: IdentityPredictor | ExpressionPredictor | None) -> Source | None:
    if predictor is None:
        return None
    about = predictor.about
    return Source(about.name, about.sha256[:12], about.licence)
