"""Photo in, expressive 3D face out:

from mica_ext import Reconstructor

face = Reconstructor.load("auto")("photo.jpg")
face.save("mesh.obj")
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flame_assets.model.fingerprint import Fingerprint, fingerprint
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadMesh
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.export.face_json import ModelPack, Provenance, SavedFace, Source
from mica_ext.export.face_mesh import save_mesh
from mica_ext.export.mesh_files import Unit, to_trimesh
from mica_ext.export.surface import Surface, surface_of
from mica_ext.fitting.correspondence.calibration import load_calibration
from mica_ext.identity.predictor import IdentityPredictor, require_own_head
from mica_ext.identity.same_person import PersonIdentity, merge_identities
from mica_ext.identity.weights import read_identity_config
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import PointChoice, open_reader
from mica_ext.landmarks.regions import REGIONS
from mica_ext.models.estimator import FaceEstimator
from mica_ext.models.pack import Pack, load_pack
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.quality import FaceSignals, Quality, assess_quality, face_luma, roll_degrees
from mica_ext.models.types import AlignedFace, FaceParameters, collate_faces
from mica_ext.preprocess.align_face import align_face
from mica_ext.preprocess.scrfd import ScrfdDetector
from pacofr.engine.device import choose_device
from pacofr.faces.choose import MIN_FACE_PX, FaceChoice, choose_face
from pacofr.faces.detect import DETECTOR, Face, detect, smallest_searched
from pacofr.images import load_image

if TYPE_CHECKING:
    from trimesh import Trimesh

    from mica_ext.render.overlay import OverlayStyle
    from mica_ext.render.textured import TexturedMesh

RgbImage = UInt8[np.ndarray, "H W 3"]
DetectorChoice = Literal["mtcnn", "mica"]
"""MTCNN, or MICA's: SCRFD at 224 pixels through insightface."""
IdentityChoice = Literal["mica", "fit"]
"""Where the identity comes from: the pack's identity network, or the fit to the points."""


class Reconstruction(NamedTuple):
    """One face of one photo."""

    parameters: FaceParameters
    """A batch of one."""
    mesh: HeadMesh
    """A batch of one, in `pose` [m]."""
    pose: Pose
    decoder: HeadDecoder
    """Turns head parameters into meshes."""
    head_fingerprint: Fingerprint
    points_px: Float[Tensor, "478 2"]
    """Detected in the photo [px]; see `pacofr.faces.face_mesh.topology`."""
    landmarks_px: Float[Tensor, "68 2"]
    """Those nearest to the iBUG landmarks, in their order."""
    face: Face
    """Detected box, score and five points."""
    faces_found: int
    """In the photo."""
    smallest_searched: float
    """Smallest face that was looked for in the photo [px]."""
    photo_size: tuple[int, int]
    """Width, height [px]."""
    signals: FaceSignals
    """How well the face was seen."""
    quality: Quality
    """Whether the result can be used, and why not."""
    provenance: Provenance

    @property
    def head(self) -> HeadModel:
        """The head model that the parameters belong to."""
        return self.decoder.head

    @property
    def surface(self) -> Surface:
        """The mesh as arrays [m]."""
        return surface_of(self.head, self.mesh.vertices[0].numpy())

    def trimesh(self, unit: Unit = "m") -> "Trimesh":
        """The mesh as a `trimesh.Trimesh` with vertex colours, vertices in the head's order."""
        return to_trimesh(self.surface, unit)

    @torch.no_grad()
    def texture(self, image: RgbImage) -> "TexturedMesh":
        """The photo that it was made from, unwrapped into the head's texture.

        Raises:
            UserError: the head has no texture coordinates.
        """
        from mica_ext.render.texture.bake import bake_texture

        posed = self.decoder(self.parameters.head).vertices[0].numpy()
        return bake_texture(image, self.head, self.parameters.camera, posed)

    @torch.no_grad()
    def overlay(
        self,
        image: RgbImage,
        style: "OverlayStyle" = "clay",
        *,
        texture: "TexturedMesh | None" = None,
        points: bool = False,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The photo that it was made from, the posed head over it, and the mesh from three sides.

        The style "textured" shows `texture`, by default the photo's; `points` marks the detected
        landmarks on the photo.
        """
        from mica_ext.render.overlay import overlay_picture

        if style == "textured" and texture is None:
            texture = self.texture(image)

        return overlay_picture(
            image,
            head=self.head,
            camera=self.parameters.camera,
            box=self.face.box,
            posed_vertices=self.decoder(self.parameters.head).vertices[0].numpy(),
            vertices=self.mesh.vertices[0].numpy(),
            style=style,
            texture=texture,
            points_px=self.landmarks_px.numpy() if points else None,
        )

    def save(
        self,
        path: str | Path,
        unit: Unit | None = None,
        *,
        texture: "TexturedMesh | None" = None,
        solid: bool = False,
    ) -> None:
        """Write the mesh in the format of the suffix; mm unless `unit` says else, GLB in metres.

        Args:
            path: of the file.
            unit: of the file.
            texture: of `texture`; OBJ and PLY have it in a file beside them, GLB inside.
            solid: close neck, mouth and lids, so that the mesh is watertight, for printing.

        Raises:
            UserError: for an unknown suffix, a unit that the format excludes, or a full disk.
        """
        save_mesh(
            Path(path),
            self.decoder,
            self.parameters,
            self.pose,
            self.mesh,
            unit,
            texture=texture,
            solid=solid,
        )

    def to_saved_face(self, photo_name: str) -> SavedFace:
        """The content of the parameter file."""
        x0, y0, x1, y1 = (float(value) for value in self.face.box)
        return SavedFace(
            self.parameters,
            self.pose,
            self.provenance,
            self.head_fingerprint,
            photo_name,
            self.photo_size,
            (x0, y0, x1, y1),
            self.quality,
        )


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
    ) -> None:
        self.head = head
        scrfd = ScrfdDetector() if detector == "mica" else None
        self.detect = scrfd or detect
        self.identity = _identity_predictor(pack, head, device, identity)
        self.decoder = HeadDecoder(head)
        self.head_fingerprint = fingerprint(head)
        self.reader = open_reader(points, pack.landmarks, device)
        self.detect_points = partial(detect_points, self.reader)
        self.estimator = FaceEstimator(self.decoder, load_calibration(self.reader.calibration))
        self.provenance = Provenance(
            head=Source(head.name, head.version, head.licence),
            weights=self.reader.source,
            detector=Source(*(scrfd.source if scrfd else DETECTOR)),
            model=ModelPack(pack.name, pack.licence),
            identity=_identity_source(self.identity),
        )

    @property
    def head_key(self) -> str:
        """Version and rounded fingerprint of the head: equal for equal heads."""
        sums = ", ".join(f"{value:.5f}" for value in self.head_fingerprint)
        return f"{self.head.version} {hashlib.sha256(sums.encode()).hexdigest()[:12]}"

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

        Raises:
            UserError: if pack, head, identity network, points, device or detector cannot be used.
        """
        pack = load_pack(model)
        head_model = load_head(head or pack.head)
        return cls(
            pack,
            head_model,
            choose_device(device),
            identity=identity,
            points=points,
            detector=detector,
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

    def align(self, image: RgbImage, faces: Sequence[Face]) -> AlignedFace:
        """Crops and landmarks of detected faces, as a batch for the estimator."""
        return collate_faces([align_face(image, face, self.detect_points) for face in faces])

    @torch.no_grad()
    def faces(
        self,
        photo: str | Path | RgbImage,
        which: FaceChoice = "all",
        pose: Pose = "expressive",
        *,
        min_face: float | None = None,
        person: PersonIdentity | None = None,
    ) -> list[Reconstruction]:
        """Reconstruct the faces asked for, largest first; at least one.

        Args:
            photo: a file, or an RGB image.
            which: "largest", "center" (of the photo), "all", or a number from 0, the largest.
            pose: how much of the movement the meshes show.
            min_face: smallest face [px]; if given, or for "all", the photo is searched down to it,
                however large it is.
            person: the identity of `merge_photos`, for photos of that person.

        Raises:
            UserError: if the photo cannot be read, has no face, or not the one asked for.
        """
        image = photo if isinstance(photo, np.ndarray) else load_image(photo)
        least = MIN_FACE_PX if min_face is None else min_face
        search = least if which == "all" else min_face
        found = self.detect(image, min_face=search)
        chosen = choose_face(found, image, which, min_face=least)
        aligned = self.align(image, chosen)
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


def _identity_source(predictor: IdentityPredictor | None) -> Source | None:
    if predictor is None:
        return None
    about = predictor.about
    return Source(about.name, about.sha256[:12], about.licence)
