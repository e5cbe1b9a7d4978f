"""BranchSample: one face picture and what is known of the head in it; its form on disk.

The picture is a face aligned as FFHQ's, FACE_PX wide in the middle of PICTURE_PX, with its real
surroundings: crops for encoder and ArcFace are cut out of it by the five points. Camera and poses
belong to this picture. What is not known is None.
"""

from pathlib import PurePath
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mica_ext.errors import UserError

FACE_PX, PICTURE_PX = 200, 320
STEP_M = 1e-5
"""Vertices are stored as int16 multiples of 0.01 mm, up to 0.327 m from their centre."""


class BranchSample(NamedTuple):
    """A picture and its labels; lengths in metres, rotations axis-angle [rad]."""

    picture: UInt8[np.ndarray, "320 320 3"]
    five_points: Float32[np.ndarray, "5 2"]
    """Eyes, nose tip, mouth corners in the order of `pacofr.faces.align` [px]."""
    subject: str
    """Of one person everywhere; splits and sampling go by it."""
    source: str
    """Data set, and where the picture lies in it."""
    confidence: float
    """Weight of the labels: 1 for measured ones, less for those that a fit to a photo made."""
    shape: Float32[np.ndarray, " S"] | None = None
    expression: Float32[np.ndarray, " E"] | None = None
    global_pose: Float32[np.ndarray, "3"] | None = None
    neck_pose: Float32[np.ndarray, "3"] | None = None
    jaw_pose: Float32[np.ndarray, "3"] | None = None
    left_eye_pose: Float32[np.ndarray, "3"] | None = None
    right_eye_pose: Float32[np.ndarray, "3"] | None = None
    focal_px: Float32[np.ndarray, "1"] | None = None
    centre_px: Float32[np.ndarray, "2"] | None = None
    translation: Float32[np.ndarray, "3"] | None = None
    """With the two above a `models.types.Camera`: camera point = head point + translation."""
    neutral_vertices: Float32[np.ndarray, "V 3"] | None = None
    """Registered neutral mesh, where there is one beside the shape."""
    posed_vertices: Float32[np.ndarray, "V 3"] | None = None
    """Registered mesh in the head's frame: what the decoder should give for all parameters."""
    points_px: Float32[np.ndarray, "478 2"] | None = None
    """Dense points of a photo; see `pacofr.faces.face_mesh.topology`."""
    point_confidence: Float32[np.ndarray, "478"] | None = None


TEXTS = ("subject", "source", "confidence")
VERTICES = ("neutral_vertices", "posed_vertices")
ARRAYS = tuple(name for name in BranchSample._fields if name not in (*TEXTS, "picture"))
FORMS = {name: kind for name, kind in get_type_hints(BranchSample).items() if name in ARRAYS}
"""Types and shapes of the arrays."""


def sequence_of(source: str) -> str:
    """Name of the sequence of expressions that a sample's `source` names; empty without one.

    Registrations are "rendered SUBJECT/SEQUENCE/FRAME NUMBER", or pictures SEQUENCE.FRAME.VIEW.png
    in SUBJECT/SEQUENCE/FRAME.
    """
    start = "rendered "
    if source.startswith(start):
        parts = source.removeprefix(start).rpartition(" ")[0].split("/")
        return parts[-2] if len(parts) >= 3 else ""
    path = PurePath(source)
    name, _, rest = path.name.partition(".")
    folders = path.parts[-3:-1]
    own = len(folders) == 2 and folders[0] == name and rest.startswith(f"{folders[1]}.")
    return name if own else ""


def encode_arrays(sample: BranchSample) -> bytes:
    """All arrays but the picture as safetensors.

    Raises:
        UserError: vertices lie too far from each other to be stored.
    """
    tensors: dict[str, np.ndarray] = {}
    for name in ARRAYS:
        array = getattr(sample, name)
        if array is None:
            continue
        if name in VERTICES:
            centre = array.mean(0).astype(np.float32)
            steps = np.rint((array - centre) / STEP_M)
            if np.abs(steps).max() > np.iinfo(np.int16).max:
                raise UserError(f"{sample.source}: expected a head below 0.65 m, got a larger mesh")
            tensors[f"{name}_centre"] = centre
            array = steps.astype(np.int16)
        tensors[name] = np.ascontiguousarray(array)
    return save(tensors)


def decode_sample(
    picture: UInt8[np.ndarray, "320 320 3"], about: dict[str, Any], data: bytes
) -> BranchSample:
    """A sample of its parts on disk.

    Raises:
        UserError: they are damaged.
    """
    try:
        tensors = load(data)
        for name in VERTICES:
            if name in tensors:
                centre = tensors.pop(f"{name}_centre")
                tensors[name] = (tensors[name] * np.float32(STEP_M) + centre).astype(np.float32)
        subject, source = str(about["subject"]), str(about["source"])
        confidence = float(about["confidence"])
        for name, array in tensors.items():
            if not isinstance(array, FORMS[name]) or not np.isfinite(array).all():
                raise ValueError(f"{name} of {array.dtype} and shape {array.shape}")
        return BranchSample(
            picture, tensors.pop("five_points"), subject, source, confidence, **tensors
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"expected a sample of `mica-ext samples`, got a damaged one ({error}); make it again"
        ) from error
