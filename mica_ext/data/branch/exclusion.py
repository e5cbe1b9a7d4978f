"""People of a training set who look like a benchmark's scans: FaMoS and NoW share people."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64

from eval_now.data.dataset import NowDataset, Scan
from eval_now.errors import UserError as ScanError
from eval_now.geometry.align import align
from eval_now.geometry.similarity import fit_similarity
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from pacofr.utils.progress import track

SCAN_POINTS = 4000
"""Scan vertices that are compared, evenly taken from those of the benchmark's crop."""
MAX_LANDMARK_MM = 12.0
"""Root mean square distance of the seven landmarks above which no match is possible."""


class Match(NamedTuple):
    """A person of the training set and the scan that is most like them."""

    subject: str
    scan: str
    median_mm: float
    """Distance of the scan's face to the neutral head, aligned rigidly."""


class ScanMatcher:
    """Compares neutral heads with all scans of a folder laid out as NoW's."""

    def __init__(self, head: HeadModel, folder: Path) -> None:
        """Read the scans.

        Raises:
            UserError: there are none, or one cannot be read.
        """
        self.head, self.decoder = head, HeadDecoder(head)
        self.triangles = head.triangles.astype(np.int64)
        data = NowDataset(folder)
        try:
            self.scans = {name: data.scan(name) for name in data.scanned_subjects()}
        except ScanError as error:
            raise UserError(f"--exclude-like: {error}") from error
        if not self.scans:
            raise UserError(f"--exclude-like {folder}: expected scans, found none")

    def nearest(self, subject: str, shape: Float32[np.ndarray, " S"]) -> Match | None:
        """The scan that is most like a neutral head; None if none is anywhere near."""
        zero = HeadParameters.zeros(self.head)
        with torch.no_grad():
            mesh = self.decoder(zero._replace(shape=torch.from_numpy(shape)[None]))
        vertices = 1000 * mesh.vertices[0].double().numpy()
        landmarks = 1000 * mesh.landmarks7[0].double().numpy()
        medians = {
            name: self._median_mm(scan, vertices, landmarks) for name, scan in self.scans.items()
        }
        best = min(medians, key=lambda name: medians[name])
        return Match(subject, best, medians[best]) if np.isfinite(medians[best]) else None

    def _median_mm(
        self, scan: Scan, vertices: Float64[np.ndarray, "V 3"], landmarks: Float[np.ndarray, "7 3"]
    ) -> float:
        moved = fit_similarity(landmarks, scan.landmarks).apply(landmarks)
        if np.sqrt(np.square(moved - scan.landmarks).sum(1).mean()) > MAX_LANDMARK_MM:
            return np.inf
        step = max(1, len(scan.points) // SCAN_POINTS)
        points = scan.points[scan.morton_order[::step]]
        aligned = align(points, scan.landmarks, vertices, self.triangles, landmarks, 1.0)
        return float(np.median(aligned.distances))


def find_matches(
    head: HeadModel, folder: Path, shapes: Mapping[str, Float32[np.ndarray, " S"]], median_mm: float
) -> list[Match]:
    """People whose neutral shape matches a scan more closely than `median_mm`."""
    matcher = ScanMatcher(head, folder)
    found = [matcher.nearest(name, shapes[name]) for name in track(sorted(shapes), "shapes")]
    return [match for match in found if match is not None and match.median_mm < median_mm]
