"""What a run reports of each photo: records for `--json`, lines for people."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mica_ext.errors import printable
from mica_ext.export.mesh_files import Unit

if TYPE_CHECKING:
    from mica_ext.reconstruction import Reconstruction


class FaceReport(NamedTuple):
    """One reconstructed face and the files written of it."""

    result: "Reconstruction"
    files: list[Path]


class PhotoReport(NamedTuple):
    """One photo of which at least one face was written."""

    photo: Path
    faces: list[FaceReport]
    rejected: "list[Reconstruction]"
    """Faces that were asked for and not written, for their quality."""
    unit: Unit
    chosen: str
    """The --face that chose them."""

    def records(self) -> list[dict[str, Any]]:
        """The written faces for JSON.

        `box` is x0, y0, x1, y1 [px]; `certainty` the probability that it is the photo of a face;
        `hidden` the regions that are mostly covered; `residual` the mean distance of fitted to
        detected landmarks, in outer eye corner distances.
        """
        return [
            {
                "photo": str(self.photo),
                "box": [round(float(value), 1) for value in result.face.box],
                "score": round(result.face.score, 4),
                "certainty": round(result.signals.confidence, 4),
                "hidden": result.signals.hidden,
                "residual": round(result.signals.residual, 4),
                "faces_found": result.faces_found,
                "smallest_searched": round(result.smallest_searched, 1),
                "chosen": self.chosen,
                "quality": result.quality.verdict,
                "reasons": list(result.quality.reasons),
                "pose": result.pose,
                "unit": self.unit,
                "files": [str(path) for path in files],
            }
            for result, files in self.faces
        ]

    def lines(self) -> str:
        """The results for people, with what one should look at before using them."""
        text = []
        first = self.faces[0].result
        found, taken = first.faces_found, len(self.faces) + len(self.rejected)
        if self.chosen == "all":
            text.append(
                f"{found} faces found of those of {first.smallest_searched:.0f} px and more"
                + (f", {found - taken} left out as too small" if found > taken else "")
            )
        elif found > 1:
            which = {"largest": "the largest", "center": "the one nearest to the middle"}
            took = which.get(self.chosen, f"number {self.chosen}")
            text.append(f"{found} faces found, took {took}; --face all|center|N for others")
        for result, files in self.faces:
            text.append(f"{_where(result)} -> {', '.join(map(str, files))}")
            text += result.quality.reasons
        for result in self.rejected:
            reasons = "; ".join(result.quality.reasons)
            text.append(f"{_where(result)} left out: {reasons}; --keep-unsure writes it")
        return "\n".join(printable(f"{self.photo}: {line}") for line in text)


def _where(result: "Reconstruction") -> str:
    x0, y0, x1, y1 = (float(value) for value in result.face.box)
    return f"face of {x1 - x0:.0f} x {y1 - y0:.0f} px at ({x0:.0f}, {y0:.0f})"
