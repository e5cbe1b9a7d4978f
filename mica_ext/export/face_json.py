"""The parameters of one face as JSON: readable, and enough to rebuild the very same mesh."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.fingerprint import Fingerprint, differing, fingerprint
from flame_assets.model.head import NAME, HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadMesh, HeadParameters
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.quality import Quality
from mica_ext.models.types import Camera, FaceParameters
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import from_json, read_json

FORMAT, VERSION = "mica-ext face", 2
MAX_BYTES = 16 << 20
MAX_SIDE = 1_000_000
"""Of a photo [px]."""
MAX_COEFFICIENT = 1000.0
"""Size of any coefficient or angle that is believed."""
BOUND_TOLERANCE = 1e-3
"""By which files may round expressions beyond their bounds."""


class Source(NamedTuple):
    """A model or a program that a result was made with."""

    name: str
    version: str
    licence: str


class ModelPack(NamedTuple):
    """The model pack that a result was made with."""

    name: str
    licence: str


class Provenance(NamedTuple):
    """Everything a result was made with."""

    head: Source
    weights: Source
    detector: Source
    model: ModelPack | None = None
    """None in files of older versions."""
    identity: Source | None = None
    """The identity network; None where the fit gave the identity."""
    expression: Source | None = None
    """The expression network; None where the fit had no such start."""


class SavedFace(NamedTuple):
    """One face as `save_face` writes it."""

    parameters: FaceParameters
    """A batch of one."""
    pose: Pose
    """Of the mesh that was written with it."""
    provenance: Provenance
    fingerprint: Fingerprint
    """Of the head: its name and version do not identify it."""
    photo: str
    """File name."""
    photo_size: tuple[int, int]
    """Width, height [px]."""
    box: tuple[float, float, float, float]
    """Of the face: x0, y0, x1, y1 [px]."""
    quality: Quality | None = None
    """None in files of older versions."""


class _PhotoEntry(NamedTuple):
    name: str
    size: tuple[int, int]
    box: tuple[float, float, float, float]


class _CameraEntry(NamedTuple):
    focal_px: float
    centre_px: tuple[float, float]
    translation: tuple[float, float, float]


class _FaceFile(NamedTuple):
    """The whole file."""

    format: str
    version: int
    units: dict[str, str]
    pose: Pose
    head: Source
    weights: Source
    detector: Source
    model: ModelPack | None
    identity: Source | None
    expression: Source | None
    fingerprint: Fingerprint
    photo: _PhotoEntry
    quality: Quality | None
    parameters: dict[str, tuple[float, ...]]
    camera: _CameraEntry


ADDED_KEYS = ("model", "quality", "identity", "expression")
"""Optional: older files lack them."""


def save_face(path: Path, face: SavedFace) -> None:
    """Write the JSON file."""
    head, camera = face.parameters
    sources = {key: source._asdict() for key, source in face.provenance._asdict().items() if source}
    quality = {} if face.quality is None else {"quality": face.quality._asdict()}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "units": {"length": "m", "angle": "rad (axis-angle)", "image": "px, y down"},
        "pose": face.pose,
        **sources,
        "fingerprint": face.fingerprint._asdict(),
        "photo": {"name": face.photo, "size": face.photo_size, "box": face.box},
        **quality,
        "parameters": {name: value[0].tolist() for name, value in head._asdict().items()},
        "camera": {name: value[0].tolist() for name, value in camera._asdict().items()},
    }
    write_bytes_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def load_face(path: Path) -> SavedFace:
    """Read a file of `save_face`.

    Raises:
        UserError: if the file is missing, too large, of another format or version, or if a value
            is missing, unknown, of a wrong type or not finite.
    """
    try:
        content = read_json(path, "a file of `reconstruct --params`", max_bytes=MAX_BYTES)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: expected a file written by `reconstruct --params`")
        if content.get("version") != VERSION:
            raise UserError(
                f"{path}: written in version {content.get('version')} of the format, this program "
                f"reads {VERSION}: reconstruct the photo again"
            )
        return _to_saved_face(content, f"{path}: not a whole file of `reconstruct --params`")
    except ContentError as error:
        raise UserError(f"{error}; write it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _to_saved_face(content: dict[str, Any], where: str) -> SavedFace:
    file = from_json(_FaceFile, dict.fromkeys(ADDED_KEYS) | content, where)
    if not NAME.fullmatch(file.head.name):
        raise UserError(f"{where}, head, name: expected the name of a head, got {file.head.name!r}")
    if not all(1 <= side <= MAX_SIDE for side in file.photo.size):
        raise UserError(f"{where}, photo, size: expected 1 to {MAX_SIDE}, got {file.photo.size}")
    if not file.camera.focal_px > 0:
        raise UserError(
            f"{where}, camera, focal_px: expected more than 0, got {file.camera.focal_px}"
        )
    if set(file.parameters) != set(HeadParameters._fields):
        odd = ", ".join(sorted(set(file.parameters) ^ set(HeadParameters._fields)))
        raise UserError(f"{where}, parameters: missing or unknown: {odd}")
    rows = {
        name: _row(values, f"{where}, parameters.{name}")
        for name, values in file.parameters.items()
    }
    camera = Camera(
        _row((file.camera.focal_px,), f"{where}, camera.focal_px")[0],
        _row(file.camera.centre_px, f"{where}, camera.centre_px"),
        _row(file.camera.translation, f"{where}, camera.translation"),
    )
    return SavedFace(
        parameters=FaceParameters(HeadParameters(**rows), camera),
        pose=file.pose,
        provenance=Provenance(
            file.head, file.weights, file.detector, file.model, file.identity, file.expression
        ),
        fingerprint=file.fingerprint,
        photo=file.photo.name,
        photo_size=file.photo.size,
        box=file.photo.box,
        quality=file.quality,
    )


def _row(values: tuple[float, ...], where: str) -> Float[Tensor, "1 N"]:
    """Numbers as a batch of one; finite in float64 is not yet finite in float32."""
    row = torch.tensor([values], dtype=torch.float32)
    if not row.isfinite().all():
        raise UserError(f"{where}: expected finite numbers in the range of float32")
    return row


def rebuild_mesh(face: SavedFace, decoder: HeadDecoder, pose: Pose | None = None) -> HeadMesh:
    """The mesh that `face` was saved with, or the same face in another `pose`.

    Raises:
        UserError: if the decoder's head is not the one that the parameters belong to.
    """
    require_head(decoder.head, face.provenance.head, face.fingerprint, face.parameters.head)
    with torch.no_grad():
        return decoder(in_pose(face.parameters.head, pose or face.pose))


def require_head(
    head: HeadModel, wanted: Source, known: Fingerprint, parameters: HeadParameters
) -> None:
    """Check that parameters from a file belong to a head.

    Args:
        head: the head.
        wanted: head that the file names.
        known: the file's fingerprint of it.
        parameters: of the file, of any batch size.

    Raises:
        UserError: they belong to another head, or a value is out of its range.
    """
    if (head.name, head.version) != (wanted.name, wanted.version):
        raise UserError(
            f"the parameters belong to the head {wanted.name} {wanted.version}, this is "
            f"{head.name} {head.version}: reconstruct the photo again with this head"
        )
    if parts := differing(known, fingerprint(head)):
        raise UserError(
            f"the parameters belong to another head of the name {head.name} ({', '.join(parts)} "
            "differ): reconstruct the photo again with this head"
        )
    for name, expected in HeadParameters.zeros(head)._asdict().items():
        values = getattr(parameters, name)
        if values.shape[1] != expected.shape[1]:
            raise UserError(
                f"the parameters hold {values.shape[1]} numbers as {name}, the head {head.name} "
                f"has {expected.shape[1]}: write the file again with `reconstruct --params`"
            )
        if (largest := float(values.abs().max())) > MAX_COEFFICIENT:
            raise UserError(
                f"the parameters hold {largest:.3g} in {name}: expected at most "
                f"{MAX_COEFFICIENT:g}; write the file again with `reconstruct --params`"
            )
    _require_bounds(head, parameters)


def _require_bounds(head: HeadModel, parameters: HeadParameters) -> None:
    if head.expression_bounds is None:
        return
    low, high = head.expression_bounds
    outside = (low - parameters.expression).maximum(parameters.expression - high)
    if float(outside.max()) <= BOUND_TOLERANCE:
        return
    row, column = divmod(int(outside.argmax()), outside.shape[1])
    raise UserError(
        f"the parameters hold {float(parameters.expression[row, column]):.3g} as weight of "
        f"{head.expression_names[column]}, the head {head.name} takes {low:g} to {high:g}: write "
        "the file again with `reconstruct --params`"
    )
