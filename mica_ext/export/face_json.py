"""The parameters of one face as a file: readable, and enough to rebuild the very same mesh."""

import json
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.fingerprint import Fingerprint, differing, fingerprint
from flame_assets.model.head_module import HeadDecoder, HeadMesh, HeadParameters
from flame_assets.model.landmarks import NOW_LANDMARKS
from mica_ext.errors import UserError
from mica_ext.export.mesh_files import PER_METRE, Unit
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.types import Camera, FaceParameters

FORMAT, VERSION = "mica-ext face", 2
LANDMARKS_FORMAT, LANDMARKS_VERSION = "mica-ext landmarks", 1


class Source(NamedTuple):
    """A model or a program that a result was made with."""

    name: str
    version: str
    licence: str


class Provenance(NamedTuple):
    """Everything a result was made with."""

    head: Source
    weights: Source
    detector: Source


class SavedFace(NamedTuple):
    """One face as `save_face` writes it."""

    parameters: FaceParameters  # a batch of one
    pose: Pose  # of the mesh that was written with it
    provenance: Provenance
    fingerprint: Fingerprint  # of the head: its name and version do not tell one from another
    photo: str  # file name
    photo_size: tuple[int, int]  # width, height [px]
    box: tuple[float, float, float, float]  # of the face: x0, y0, x1, y1 [px]


def save_face(path: Path, face: SavedFace) -> None:
    """Write the JSON file."""
    head, camera = face.parameters
    content = {
        "format": FORMAT,
        "version": VERSION,
        "units": {"length": "m", "angle": "rad (axis-angle)", "image": "px, y down"},
        "pose": face.pose,
        **{part: source._asdict() for part, source in face.provenance._asdict().items()},
        "fingerprint": face.fingerprint._asdict(),
        "photo": {"name": face.photo, "size": face.photo_size, "box": face.box},
        "parameters": {name: value[0].tolist() for name, value in head._asdict().items()},
        "camera": {name: value[0].tolist() for name, value in camera._asdict().items()},
    }
    write_bytes_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def load_face(path: Path) -> SavedFace:
    """Read a file of `save_face`; anything else is refused."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: expected a file written by `reconstruct --params`")
        if content["version"] != VERSION:
            raise UserError(
                f"{path}: written in version {content['version']} of the format, this program "
                f"reads {VERSION}: reconstruct the photo again"
            )
        if content["pose"] not in get_args(Pose):
            raise ValueError(f"pose {content['pose']!r}")
        sources = (Source(**content[part]) for part in Provenance._fields)
        width, height = content["photo"]["size"]
        x0, y0, x1, y1 = content["photo"]["box"]
        return SavedFace(
            parameters=FaceParameters(
                HeadParameters(**_rows(content["parameters"])), _camera(content["camera"])
            ),
            pose=content["pose"],
            provenance=Provenance(*sources),
            fingerprint=Fingerprint(**{k: float(v) for k, v in content["fingerprint"].items()}),
            photo=content["photo"]["name"],
            photo_size=(width, height),
            box=(x0, y0, x1, y1),
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: not a whole file of `reconstruct --params` ({reason}); write it again"
        ) from error


def rebuild_mesh(face: SavedFace, decoder: HeadDecoder, pose: Pose | None = None) -> HeadMesh:
    """The mesh that `face` was saved with, or the same face in another `pose`.

    Raises:
        UserError: if the decoder's head is not the one that the parameters belong to.
    """
    head, wanted = decoder.head, face.provenance.head
    if (head.name, head.version) != (wanted.name, wanted.version):
        raise UserError(
            f"the parameters belong to the head {wanted.name} {wanted.version}, this is "
            f"{head.name} {head.version}: reconstruct the photo again with this head"
        )
    if parts := differing(face.fingerprint, fingerprint(head)):
        raise UserError(
            f"the parameters belong to another head of the name {head.name} ({', '.join(parts)} "
            "differ): reconstruct the photo again with this head"
        )
    for name, expected in HeadParameters.zeros(head)._asdict().items():
        values = getattr(face.parameters.head, name)
        if values.shape != expected.shape:
            raise UserError(
                f"the parameters hold {values.numel()} numbers as {name}, the head {head.name} has "
                f"{expected.numel()}: write the file again with `reconstruct --params`"
            )
    with torch.no_grad():
        return decoder(in_pose(face.parameters.head, pose or face.pose))


def save_landmarks(
    path: Path, mesh: HeadMesh, landmarks_px: Float[Tensor, "68 2"], unit: Unit
) -> None:
    """Write the 68 (iBUG) and the 7 (NoW) landmarks of a mesh, a batch of one, as JSON."""
    scale = PER_METRE[unit]
    content = {
        "format": LANDMARKS_FORMAT,
        "version": LANDMARKS_VERSION,
        "unit": unit,
        "landmarks68": (mesh.landmarks[0].double() * scale).tolist(),
        "landmarks7": (mesh.landmarks7[0].double() * scale).tolist(),
        "landmarks7_of_68": list(NOW_LANDMARKS),
        "landmarks68_px": landmarks_px.double().tolist(),
    }
    write_bytes_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def _camera(values: dict[str, Any]) -> Camera:
    rows = _rows({"focal_px": [values["focal_px"]], **{k: values[k] for k in Camera._fields[1:]}})
    if [row.numel() for row in rows.values()] != [1, 2, 3]:
        raise ValueError("camera: expected 1, 2 and 3 numbers")
    return Camera(rows["focal_px"][0], rows["centre_px"], rows["translation"])


def _rows(values: dict[str, Any]) -> dict[str, Float[Tensor, "1 N"]]:
    """Named lists of numbers as batches of one."""
    rows = {name: torch.tensor([value], dtype=torch.float32) for name, value in values.items()}
    for name, row in rows.items():
        if row.ndim != 2 or not row.isfinite().all():
            raise ValueError(f"{name}: expected a list of finite numbers")
    return rows
