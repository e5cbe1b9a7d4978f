"""Photo in, expressive 3D face out:

from mica_ext.reconstruct import Reconstructor

face = Reconstructor.load("auto")("photo.jpg")
face.save("mesh.obj")
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flame_assets.model.fingerprint import fingerprint
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadMesh
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.export.face_json import Pose, Provenance, SavedFace, Source, in_pose, surface_of
from mica_ext.export.mesh_files import Surface, Unit, write_surface, write_whole
from mica_ext.landmarks.weights import read_landmark_config
from mica_ext.models.estimator import MicaExt
from mica_ext.models.pack import Pack, load_pack
from mica_ext.models.types import FaceParameters
from pacofr.faces.detect import DETECTOR, Face, Which, choose_face, detect
from pacofr.images import load_image

Photo = UInt8[np.ndarray, "H W 3"]


class Reconstruction(NamedTuple):
    """One face of one photo."""

    parameters: FaceParameters  # a batch of one
    mesh: HeadMesh  # a batch of one, in the pose asked for [m]
    pose: Pose
    decoder: HeadDecoder
    landmarks_px: Float[Tensor, "68 2"]  # seen by the network, in the photo
    face: Face  # detected box, score and five points
    faces_found: int  # in the photo
    photo_size: tuple[int, int]  # width, height [px]
    certainty: float  # of the landmark network: 0.10 to 0.20 for faces
    residual: float  # mean distance of the fitted to the seen landmarks over the eye corners'
    provenance: Provenance

    @property
    def head(self) -> HeadModel:
        """The head model."""
        return self.decoder.head

    @property
    def surface(self) -> Surface:
        """The mesh as arrays [m]."""
        return surface_of(self.head, self.mesh.vertices[0])

    def save(self, path: str | Path, unit: Unit | None = None) -> None:
        """Write the mesh; mm unless `unit` says else, GLB always in metres."""
        save_mesh(Path(path), self.head, self.parameters, self.pose, self.mesh, unit)

    @torch.no_grad()
    def overlay(self, image: Photo) -> UInt8[np.ndarray, "height width 3"]:
        """The posed head over the photo that it was made from, and the mesh from three sides."""
        from mica_ext.render.overlay import overlay_picture

        return overlay_picture(
            image,
            head=self.head,
            camera=self.parameters.camera,
            box=self.face.box,
            posed_vertices=self.decoder(self.parameters.head).vertices[0].numpy(),
            vertices=self.mesh.vertices[0].numpy(),
        )

    def saved(self, photo_name: str) -> SavedFace:
        """What goes into the parameter file."""
        x0, y0, x1, y1 = (float(value) for value in self.face.box)
        return SavedFace(
            self.parameters,
            self.pose,
            self.provenance,
            fingerprint(self.head),
            photo_name,
            self.photo_size,
            (x0, y0, x1, y1),
        )


class Reconstructor:
    """A loaded model pack with its head; call it with photos."""

    def __init__(self, pack: Pack, head: HeadModel, device: torch.device) -> None:
        self.head = head
        self.flame = HeadDecoder(head)
        self.model = MicaExt(pack, self.flame, device)
        weights = read_landmark_config(pack.landmarks)
        self.provenance = Provenance(
            head=Source(head.name, head.version, head.licence),
            weights=Source(weights.name, weights.sha256[:12], weights.licence),
            detector=_detector(),
        )

    @classmethod
    def load(
        cls, model: str | Path = "auto", *, head: str | None = None, device: str = "cpu"
    ) -> "Reconstructor":
        """Load a model pack ("auto": the shipped one), and the head it names or `head`."""
        pack = load_pack(model)
        return cls(pack, load_head(head or pack.head), pick_device(device))

    def __call__(
        self, photo: str | Path | Photo, *, face: Which = "largest", pose: Pose = "expressive"
    ) -> Reconstruction:
        """Reconstruct one face; the largest unless `face` says else."""
        return self.faces(photo, face, pose)[0]

    @torch.no_grad()
    def faces(
        self, photo: str | Path | Photo, which: Which = "all", pose: Pose = "expressive"
    ) -> list[Reconstruction]:
        """Reconstruct the faces asked for, largest first; at least one."""
        image = photo if isinstance(photo, np.ndarray) else load_image(photo)
        found = detect(image)
        chosen = choose_face(found, image.shape, which)
        height, width = image.shape[:2]
        estimate = self.model(image, chosen)
        meshes = self.flame(in_pose(estimate.parameters.head, pose))
        return [
            Reconstruction(
                parameters=_one(estimate.parameters, index),
                mesh=HeadMesh(*(part[index : index + 1] for part in meshes)),
                pose=pose,
                decoder=self.flame,
                landmarks_px=estimate.landmarks_px[index],
                face=face,
                faces_found=len(found),
                photo_size=(width, height),
                certainty=float(estimate.certainty[index]),
                residual=float(estimate.residual[index]),
                provenance=self.provenance,
            )
            for index, face in enumerate(chosen)
        ]


def save_mesh(
    path: Path,
    head: HeadModel,
    parameters: FaceParameters,
    pose: Pose,
    mesh: HeadMesh,
    unit: Unit | None = None,
) -> None:
    """Write a mesh, a batch of one, in the format of the suffix.

    A GLB holds the face at rest, a morph target per expression and the weights that make the mesh.
    """
    if path.suffix.lower() == ".glb":
        if unit not in (None, "m"):
            raise UserError(
                f"{path}: GLB files are in metres by definition; leave --unit {unit} out"
            )
        from mica_ext.export.blendshapes import morphs
        from mica_ext.export.gltf import glb_bytes

        rest, targets = morphs(head, in_pose(parameters.head, pose))
        note = f"made with the head {head.name} {head.version}: {head.licence}"
        write_whole(path, glb_bytes(surface_of(head, rest), targets, note))
        return
    surface = surface_of(head, mesh.vertices[0])
    notes = [f"head: {head.name} {head.version} ({head.licence})", f"pose: {pose}"]
    write_surface(path, surface, unit or "mm", notes)


def pick_device(name: str) -> torch.device:
    """The torch device called cpu, cuda, cuda:N or auto."""
    if name == "auto":
        return torch.device("cuda" if _computes("cuda") else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UserError(f"--device: expected cpu, cuda, cuda:N or auto, got {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"--device {name}: this machine has {count} CUDA devices; use --device cpu")
    return torch.device(name)


def _computes(device: str) -> bool:
    """Whether this build of torch can use the device: it may be there, but too old for it."""
    if not torch.cuda.is_available():
        return False
    try:
        one = torch.ones(1, 1, 3, 3, device=device)
        return float(torch.nn.functional.conv2d(one, one)) == 9.0
    except RuntimeError:
        return False


def _one(parameters: FaceParameters, index: int) -> FaceParameters:
    head, camera = parameters
    rows = slice(index, index + 1)
    return FaceParameters(
        type(head)(*(part[rows] for part in head)), type(camera)(*(part[rows] for part in camera))
    )


def _detector() -> Source:
    name, _, licence = DETECTOR.partition(" (")
    return Source(name, "1.0.0", licence.rstrip(")"))
