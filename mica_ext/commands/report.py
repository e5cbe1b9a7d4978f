"""What a run reports of each face: records for `--json`, lines for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mica_ext.export.mesh_files import Unit
from mica_ext.landmarks.detect import MIN_CONFIDENCE

if TYPE_CHECKING:
    from mica_ext.reconstruct import Reconstruction

SMALL_FACE_PX = 64
"""Longer side of the box [px] below which a face gives a coarse result."""


class FaceReport(NamedTuple):
    """One reconstructed face and the files written of it."""

    photo: Path
    result: "Reconstruction"
    files: list[Path]
    unit: Unit
    chosen: str
    """The --face that chose it."""

    def record(self) -> dict[str, Any]:
        """The face for JSON.

        `box` is x0, y0, x1, y1 [px]; `certainty` the landmark confidence, 0.10 to 0.20 for faces;
        `residual` the mean distance of fitted to detected landmarks, in outer eye corner distances.
        """
        return {
            "photo": str(self.photo),
            "box": [round(float(value), 1) for value in self.result.face.box],
            "score": round(self.result.face.score, 4),
            "certainty": round(self.result.confidence, 4),
            "residual": round(self.result.residual, 4),
            "faces_found": self.result.faces_found,
            "chosen": self.chosen,
            "pose": self.result.pose,
            "unit": self.unit,
            "files": [str(path) for path in self.files],
        }


def lines(faces: Sequence[FaceReport]) -> str:
    """The results of one photo for people, with warnings where one should look at them."""
    text = []
    photo, found, chosen = faces[0].photo, faces[0].result.faces_found, faces[0].chosen
    if found > 1 and chosen != "all":
        which = {"largest": "the largest", "center": "the one nearest to the middle"}
        took = which.get(chosen, f"number {chosen}")
        text.append(f"{photo}: {found} faces found, took {took}; --face all|center|N for others")
    for face in faces:
        x0, y0, x1, y1 = (float(value) for value in face.result.face.box)
        where = f"face of {x1 - x0:.0f} x {y1 - y0:.0f} px at ({x0:.0f}, {y0:.0f})"
        text.append(f"{photo}: {where} -> {', '.join(map(str, face.files))}")
        if max(x1 - x0, y1 - y0) < SMALL_FACE_PX:
            text.append(f"{photo}: the face is small; expect a coarse result")
        if face.result.confidence < MIN_CONFIDENCE:
            text.append(
                f"{photo}: the landmarks are unsure ({face.result.confidence:.3f}; faces have "
                f"{MIN_CONFIDENCE:.2f} or more); look at the result before you use it"
            )
    return "\n".join(text)
