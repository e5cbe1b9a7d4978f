"""Networks that read 478 points from a crop, behind one interface: the student and its teacher."""

from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flame_assets.download.catalogue import CATALOGUE, is_fetched, require_asset
from mica_ext.export.face_json import Source
from mica_ext.landmarks.regions import REGIONS
from mica_ext.landmarks.student.network import INPUT, ROLL_FROM_MOUTH, SIDE_PER_BOX
from mica_ext.landmarks.student.weights import SHIPPED, load_landmark_network, read_landmark_config
from pacofr.faces.face_mesh import network as face_mesh
from pacofr.faces.face_mesh import region
from pacofr.faces.face_mesh.task_file import load_face_mesh

PointChoice = Literal["auto", "student", "face-mesh"]
"""Whose points are read; auto is Face Mesh's where it is installed and sees the face, else the
student's."""
FACE_MESH = "face-mesh"
FACE_LOGIT = 3.0
"""Face Mesh's logit at which a face counts as half certain; real faces have 3.1 or more."""
STUDENT_MARGIN = (1 - SIDE_PER_BOX / region.SIDE_PER_BOX) / 2
"""What the student does not see of Face Mesh's crops, on each side; over their side."""
FACE_MESH_ERROR = 1.5
"""Error of Face Mesh's points where nothing more is known [% of the eye distance]."""


class Confidence(NamedTuple):
    """How far a network's points of a batch of crops can be relied on."""

    visibility: Float[Tensor, "B 7"]
    """Share of each of `REGIONS`' points that can be seen, 0 to 1."""
    error: Float[Tensor, "B 7"]
    """Expected error of each region's points [% of the eye distance]."""
    face: Float[Tensor, " B"]
    """Probability that there is an upright face of the right size."""


class CropReading(NamedTuple):
    """What a network reads from a batch of crops."""

    points: Float[Tensor, "B 478 2"]
    """Crop pixels, from the centre of the first one."""
    confidence: Confidence


@runtime_checkable
class PointReader(Protocol):
    """A network with what it needs to know about its crops."""

    size: int
    """Side of the crops [px]."""
    side_per_box: float
    """Side of the crop over the longer side of the points' box."""
    roll_from_mouth: bool
    """See `region_of_points`."""
    passes: int
    """How often a face has to be cut out and read at least."""
    source: Source
    """Name, version and licence of the weights."""
    calibration: Path
    """Folder of the calibration of its points, see `fitting.correspondence.calibration`."""
    fallback: "PointReader | None"
    """Reads faces that this one does not see, such as profiles."""

    @property
    def network(self) -> torch.nn.Module:
        """What `read` runs."""
        ...

    def read(self, crops: Float[Tensor, "B 3 S S"]) -> CropReading:
        """Read RGB crops in [0, 1]."""
        ...

    def confidence(self, crops: Float[Tensor, "B 3 S S"], reading: CropReading) -> Confidence:
        """All that can be told of a reading of these crops; `read` may know less."""
        ...


class StudentReader:
    """The shipped network; one pass, for it is trained on the detector's crops."""

    size, side_per_box, roll_from_mouth, passes = INPUT, SIDE_PER_BOX, ROLL_FROM_MOUTH, 1
    fallback: PointReader | None = None

    def __init__(self, folder: Path | None = None, device: torch.device | None = None) -> None:
        """With the weights of `folder` (None: the shipped ones)."""
        about = read_landmark_config(folder)
        self.calibration = folder or SHIPPED
        self.source = Source(about.name, about.sha256[:12], about.licence)
        self.network = load_landmark_network(folder).to(device)

    @torch.inference_mode()
    def read(self, crops: Float[Tensor, "B 3 S S"]) -> CropReading:
        """Read RGB crops in [0, 1]."""
        device = next(self.network.parameters()).device
        output = self.network(crops.to(device))
        return CropReading(
            ((output.points + 1) * (self.size / 2) - 0.5).cpu(),
            Confidence(
                output.visibility_logits.sigmoid().cpu(),
                output.log_errors.exp().cpu(),
                output.face_logit.sigmoid().cpu(),
            ),
        )

    def confidence(self, crops: Float[Tensor, "B 3 S S"], reading: CropReading) -> Confidence:
        """What was read with the points."""
        return reading.confidence


class FaceMeshReader:
    """Face Mesh V2. It tells nothing about regions, so the student looks at them."""

    size, side_per_box, roll_from_mouth, passes = face_mesh.CROP, region.SIDE_PER_BOX, False, 2
    calibration = SHIPPED.with_name("face_mesh")

    def __init__(
        self,
        task_file: Path,
        student: StudentReader | None = None,
        device: torch.device | None = None,
        *,
        student_reads_unseen: bool = False,
    ) -> None:
        """Without a student all regions count as visible.

        `student_reads_unseen`: faces that Face Mesh does not see are read by the student.
        """
        asset = CATALOGUE[FACE_MESH]
        self.network = load_face_mesh(task_file).to(device)
        self.student = student
        self.fallback: PointReader | None = student if student_reads_unseen else None
        name, licence = "Face Mesh V2", asset.licence
        if self.fallback is not None:
            own = self.fallback.source
            name, licence = f"{name} with {own.name} for profiles", f"{licence}; {own.licence}"
        self.source = Source(name, (asset.sha256 or "unknown")[:12], licence)

    @torch.inference_mode()
    def read(self, crops: Float[Tensor, "B 3 S S"]) -> CropReading:
        """Read RGB crops in [0, 1]."""
        device = next(self.network.parameters()).device
        output = self.network(crops.to(device))
        unknown = torch.ones(len(crops), len(REGIONS))
        face = (output.face_logit - FACE_LOGIT).sigmoid().cpu()
        return CropReading(
            output.points[..., :2].cpu() - 0.5, Confidence(unknown, FACE_MESH_ERROR * unknown, face)
        )

    @torch.inference_mode()
    def confidence(self, crops: Float[Tensor, "B 3 S S"], reading: CropReading) -> Confidence:
        """What the student sees in the middle of the crops, a face only where both see one."""
        own = reading.confidence
        if self.student is None:
            return own
        size, margin = self.student.size, round(STUDENT_MARGIN * self.size)
        middle = crops[:, :, margin : self.size - margin, margin : self.size - margin]
        resized = F.interpolate(middle, size=(size, size), mode="bilinear")
        seen = self.student.read(resized).confidence
        return Confidence(seen.visibility, own.error, torch.minimum(own.face, seen.face))


def open_reader(
    choice: PointChoice, student: Path | None = None, device: torch.device | None = None
) -> PointReader:
    """The network of that choice, loaded.

    Args:
        choice: see `PointChoice`.
        student: folder of the student's weights (None: the shipped ones).
        device: where it computes; the CPU without one.

    Raises:
        UserError: its weights are missing or damaged.
    """
    wanted = choice == FACE_MESH or (choice == "auto" and is_fetched(FACE_MESH))
    task_file = require_asset(FACE_MESH) if wanted else None
    own = StudentReader(student, device)
    if task_file is None:
        return own
    return FaceMeshReader(task_file, own, device, student_reads_unseen=choice == "auto")
