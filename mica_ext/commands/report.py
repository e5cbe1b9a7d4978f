"""What is told of a photo: records for `--json`, lines for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mica_ext.export.mesh_files import Unit
from mica_ext.landmarks.detect import MIN_CONFIDENCE

if TYPE_CHECKING:
    from mica_ext.reconstruct import Reconstruction

SMALL = 64
"""Longer side [px] below which a face gives a coarse result."""


class Told(NamedTuple):
    """One face and the files made of it."""

    photo: Path
    result: "Reconstruction"
    files: list[Path]
    unit: Unit
    chosen: str
    """The --face that chose it."""

    def record(self) -> dict[str, Any]:
        """For JSON.

        The box is in pixels: x0, y0, x1, y1. Certainty is the landmark network's, 0.10 to 0.20 for
        faces; residual the fitted head's distance to the landmarks, as a share of the distance of
        the outer eye corners.
        """
        return {
            "photo": str(self.photo),
            "box": [round(float(value), 1) for value in self.result.face.box],
            "score": round(self.result.face.score, 4),
            "certainty": round(self.result.certainty, 4),
            "residual": round(self.result.residual, 4),
            "faces_found": self.result.faces_found,
            "chosen": self.chosen,
            "pose": self.result.pose,
            "unit": self.unit,
            "files": [str(path) for path in self.files],
        }


def lines(faces: Sequence[Told]) -> str:
    """What happened to one photo, for people."""
    told = []
    photo, found, chosen = faces[0].photo, faces[0].result.faces_found, faces[0].chosen
    if found > 1 and chosen != "all":
        which = {"largest": "the largest", "center": "the one nearest to the middle"}
        took = which.get(chosen, f"number {chosen}")
        told.append(f"{photo}: {found} faces found, took {took}; --face all|center|N for others")
    for face in faces:
        x0, y0, x1, y1 = (float(value) for value in face.result.face.box)
        where = f"face of {x1 - x0:.0f} x {y1 - y0:.0f} px at ({x0:.0f}, {y0:.0f})"
        told.append(f"{photo}: {where} -> {', '.join(map(str, face.files))}")
        if max(x1 - x0, y1 - y0) < SMALL:
            told.append(f"{photo}: the face is small; expect a coarse result")
        if face.result.certainty < MIN_CONFIDENCE:
            told.append(
                f"{photo}: the landmarks are unsure ({face.result.certainty:.3f}; faces have "
                f"{MIN_CONFIDENCE:.2f} or more); look at the result before you use it"
            )
    return "\n".join(told)
