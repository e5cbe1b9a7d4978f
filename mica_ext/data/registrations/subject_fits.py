"""Fits of one subject after the other, and what is left out on the way."""

import os
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from flame_assets.errors import UserError as HeadError
from flame_assets.fitting.config import MeshFitConfig
from flame_assets.fitting.landmarks3d import Landmark3dFitter
from flame_assets.fitting.registered_mesh import MeshFits, RegisteredMeshFitter
from flame_assets.inert.npy import read_npy
from flame_assets.model.head import HeadModel
from mica_ext.data.registrations.config import FitMeshesConfig
from mica_ext.data.registrations.fit_files import (
    FORMAT,
    VERSION,
    Residual,
    SubjectFile,
    SubjectFit,
)
from mica_ext.data.registrations.layouts import Frame
from mica_ext.data.registrations.mesh_reader import METRES, RefusedMesh, RegistrationReader
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError
from pacofr.utils.ordered_map import ordered_map

BATCH = 32
"""Frames that a thread reads and fits at a time."""
POOR_FIT = "mesh that no head fits"
NO_HEAD = "expected the head's vertices in its order, got points that no head fits; give --head"
UNREADABLE = "unreadable landmarks"


class _Batch(NamedTuple):
    """Frames of a batch that were fitted, and what was left out of it."""

    frames: list[Frame]
    fits: MeshFits | None
    skipped: SkipCounter


class MeshSubjects:
    """Fits subjects' meshes one after the other."""

    def __init__(self, head: HeadModel, config: FitMeshesConfig) -> None:
        self.config = config
        self.fitter = RegisteredMeshFitter(head, MeshFitConfig(sigma_mm=float(config.sigma_mm)))
        self.reader = RegistrationReader(head, config.unit)
        self.skipped = SkipCounter()
        self.refused: list[str] = []
        """Lines of the files that could not be used."""

    def fit(self, subject: str, frames: list[Frame]) -> SubjectFit | None:
        """One subject; None if no frame of it can be used."""
        threads = self.config.threads or os.cpu_count() or 1
        shape = self._shape(frames, threads)
        if shape is None:
            list(self._meshes(frames, self.skipped))  # counts why
            return None
        skipped = SkipCounter()
        batches = [frames[at : at + BATCH] for at in range(0, len(frames), BATCH)]
        kept: list[Frame] = []
        parts: list[MeshFits] = []
        for future in ordered_map(partial(self._fit_batch, shape), batches, threads):
            batch = future.result()
            skipped.merge(batch.skipped)
            if batch.fits is not None:
                kept += batch.frames
                parts.append(batch.fits)
        self.skipped.merge(skipped)
        if not kept:
            return None
        fits = MeshFits(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        return SubjectFit(about_subject(subject, kept, fits, skipped), shape, fits)

    def _fit_batch(self, shape: Float32[np.ndarray, " S"], frames: list[Frame]) -> _Batch:
        skipped = SkipCounter()
        read = list(self._meshes(frames, skipped))
        if not read:
            return _Batch([], None, skipped)
        fits = self.fitter.fit_frames(np.stack([mesh for _, mesh in read]), shape)
        good = fits.mean_distance_mm <= self.config.max_residual_mm
        fine_rows = good.tolist()
        for (frame, _), fine in zip(read, fine_rows, strict=True):
            if not fine:
                skipped.add(POOR_FIT, frame.path)
        kept = [frame for (frame, _), fine in zip(read, fine_rows, strict=True) if fine]
        rows = np.flatnonzero(good)
        return _Batch(kept, MeshFits(*(array[rows] for array in fits)), skipped)

    def _shape(self, frames: list[Frame], threads: int) -> Float32[np.ndarray, " S"] | None:
        """The identity that frames spread over all of the subject's share."""
        count = min(self.fitter.config.shape_frames, len(frames))
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        meshes = [mesh for _, mesh in self._meshes([frames[at] for at in chosen], SkipCounter())]
        if not meshes:  # those may be the only bad ones
            meshes = [mesh for _, mesh in self._meshes(frames, SkipCounter())][:count]
        return self.fitter.fit_shape(np.stack(meshes), threads) if meshes else None

    def _meshes(
        self, frames: list[Frame], skipped: SkipCounter
    ) -> Iterator[tuple[Frame, Float64[np.ndarray, "V 3"]]]:
        for frame in frames:
            mesh = self.reader(frame.path)
            if isinstance(mesh, RefusedMesh):
                skipped.add(mesh.reason, mesh.text)
                self.refused.append(mesh.text)
            elif not self.fitter.plausible(mesh):
                skipped.add(POOR_FIT, frame.path)
                self.refused.append(f"{frame.path}: {NO_HEAD}")
            else:
                yield frame, mesh


class LandmarkSubjects:
    """Fits files of 68 landmarks, each with a shape of its own."""

    def __init__(self, head: HeadModel, config: FitMeshesConfig) -> None:
        self.fitter, self.metres = Landmark3dFitter(head), METRES[config.unit]
        self.max_residual_mm = config.max_residual_mm
        self.skipped = SkipCounter()
        self.refused: list[str] = []
        """Lines of the files that could not be used."""

    def fit(self, subject: str, frames: list[Frame]) -> SubjectFit | None:
        """The first readable file of a subject."""
        own = SkipCounter()
        found = None
        for frame in frames:
            try:
                landmarks = self._read(frame.path)
                seen = np.isfinite(landmarks[None].sum(2))
                known = np.where(seen[..., None], landmarks[None], 0.0)
                fitted = self.fitter(known, seen=seen)
            except (HeadError, UserError) as error:
                own.add(UNREADABLE, str(error))
                self.refused.append(str(error))
                continue
            fits = MeshFits(*fitted[1:], fitted.mean_distance_mm)
            if fits.mean_distance_mm[0] > self.max_residual_mm:
                own.add(POOR_FIT, frame.path)
                continue
            found = SubjectFit(about_subject(subject, [frame], fits, own), fitted.shape[0], fits)
            break
        self.skipped.merge(own)
        return found

    def _read(self, path: Path) -> Float64[np.ndarray, "68 3"]:
        points = read_npy(path)
        if not isinstance(points, np.ndarray) or points.shape != (68, 3):
            shape = getattr(points, "shape", type(points).__name__)
            raise UserError(f"{path}: expected landmarks of 68 x 3 numbers, got {shape}")
        if points.dtype.kind not in "fiu":
            raise UserError(f"{path}: expected real numbers, got {points.dtype}")
        return points.astype(np.float64) * self.metres


def about_subject(
    subject: str, frames: list[Frame], fits: MeshFits, skipped: SkipCounter
) -> SubjectFile:
    """Names and residuals of a subject's frames."""
    residuals = {}
    for sequence, rows in groupby(range(len(frames)), lambda row: frames[row].sequence):
        own = list(rows)
        residuals[sequence] = residual(fits.mean_distance_mm[own], fits.max_distance_mm[own])
    names = tuple((frame.sequence, frame.frame) for frame in frames)
    return SubjectFile(FORMAT, VERSION, subject, names, residuals, skipped.counts)


def residual(means: Float[np.ndarray, " F"], largest: Float[np.ndarray, " F"]) -> Residual:
    """Residuals of frames with these mean and largest distances [mm]."""
    numbers = (means.mean(), means.max(), largest.max())
    return Residual(len(means), *(round(float(number), 6) for number in numbers))
