"""Networks that read 478 points from a crop, behind one interface: the student and its teacher."""

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mica_ext.landmarks.dense.network import INPUT, SIDE_PER_BOX
from mica_ext.landmarks.dense.regions import REGIONS
from mica_ext.landmarks.dense.weights import load_dense_network
from pacofr.faces.face_mesh import network as face_mesh
from pacofr.faces.face_mesh import region
from pacofr.faces.face_mesh.task_file import load_face_mesh

FACE_LOGIT = 3.0
"""Face Mesh's logit at which a face counts as half certain; real faces have 3.1 or more."""
FACE_MESH_ERROR = 1.5
"""Error of Face Mesh's points where nothing more is known [% of the eye distance]."""


class CropReading(NamedTuple):
    """What a network reads from a batch of crops."""

    points: Float[Tensor, "B 478 2"]
    """Crop pixels, from the centre of the first one."""
    visibility: Float[Tensor, "B 7"]
    """Share of each of `REGIONS`' points that can be seen, 0 to 1."""
    error: Float[Tensor, "B 7"]
    """Expected error of each region's points [% of the eye distance]."""
    face: Float[Tensor, " B"]
    """Probability that there is an upright face of the right size."""


@runtime_checkable
class PointReader(Protocol):
    """A network with what it needs to know about its crops."""

    size: int
    """Side of the crops [px]."""
    side_per_box: float
    """Side of the crop over the longer side of the points' box."""
    passes: int
    """How often a face has to be cut out and read at least."""

    def read(self, crops: Float[Tensor, "B 3 S S"]) -> CropReading:
        """Read RGB crops in [0, 1]."""
        ...


class StudentReader:
    """The shipped network; one pass, for it is trained on the detector's crops."""

    size, side_per_box, passes = INPUT, SIDE_PER_BOX, 1

    def __init__(self, folder: Path | None = None, device: torch.device | None = None) -> None:
        """With the weights of `folder` (None: the shipped ones)."""
        self.network = load_dense_network(folder).to(device)

    @torch.inference_mode()
    def read(self, crops: Float[Tensor, "B 3 S S"]) -> CropReading:
        """Read RGB crops in [0, 1]."""
        device = next(self.network.parameters()).device
        output = self.network(crops.to(device))
        return CropReading(
            ((output.points + 1) * (self.size / 2) - 0.5).cpu(),
            output.visibility_logits.sigmoid().cpu(),
            output.log_errors.exp().cpu(),
            output.face_logit.sigmoid().cpu(),
        )


class FaceMeshReader:
    """Face Mesh V2; tells whether there is a face, but nothing about its regions."""

    size, side_per_box, passes = face_mesh.CROP, region.SIDE_PER_BOX, 2

    def __init__(self, task_file: Path, device: torch.device | None = None) -> None:
        self.network = load_face_mesh(task_file).to(device)

    @torch.inference_mode()
    def read(self, crops: Float[Tensor, "B 3 S S"]) -> CropReading:
        """Read RGB crops in [0, 1]."""
        device = next(self.network.parameters()).device
        output = self.network(crops.to(device))
        unknown = torch.ones(len(crops), len(REGIONS))
        return CropReading(
            output.points[..., :2].cpu() - 0.5,
            unknown,
            FACE_MESH_ERROR * unknown,
            (output.face_logit - FACE_LOGIT).sigmoid().cpu(),
        )
