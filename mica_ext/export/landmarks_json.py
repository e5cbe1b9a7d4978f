"""The landmarks of one face as JSON."""

import json
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head_module import HeadMesh
from flame_assets.model.landmarks import NOW_LANDMARKS
from mica_ext.export.mesh_files import PER_METRE, Unit
from mica_ext.files import write_bytes_atomic

FORMAT, VERSION = "mica-ext landmarks", 1


def save_landmarks(
    path: Path,
    mesh: HeadMesh,
    landmarks_px: Float[Tensor, "68 2"],
    points_px: Float[Tensor, "478 2"],
    unit: Unit,
) -> None:
    """Write the landmarks of a mesh, a batch of one, and those detected in the photo.

    68 iBUG and 7 NoW landmarks of the mesh; 68 and 478 points of the photo, irises included
    (`pacofr.faces.face_mesh.topology`).
    """
    scale = PER_METRE[unit]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "unit": unit,
        "landmarks68": (mesh.landmarks[0].double() * scale).tolist(),
        "landmarks7": (mesh.landmarks7[0].double() * scale).tolist(),
        "landmarks7_of_68": list(NOW_LANDMARKS),
        "landmarks68_px": landmarks_px.double().tolist(),
        "points478_px": points_px.double().tolist(),
    }
    write_bytes_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
