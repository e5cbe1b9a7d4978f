"""How near fits to registered meshes come to the truth, and how many meshes a second they fit.

    OMP_NUM_THREADS=1 python tests/bench/mesh_fits.py [--ict PATH] [--frames 96] [--threads 2]

A head of FLAME's size (5,023 vertices, 300 identity and 100 expression modes) with the shapes of
ICT-FaceKit's people, posed by joints of neck and jaw: noise-free frames of one person, random
expressions, jaws up to 23 degrees, necks and heads up to 25. Printed are the largest errors, CPU
seconds a mesh, and meshes a second of wall clock, without and with reading them from PLY files.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.registered_heads import Sequence, ict_flame_head, sequence
from helpers.registration_trees import write_mesh

from flame_assets.fitting.registered_mesh import MeshFits, RegisteredMeshFitter
from flame_assets.model.head import HeadModel
from mica_ext.data.registrations.config import FitMeshesConfig
from mica_ext.data.registrations.layouts import Frame
from mica_ext.data.registrations.subject_fits import MeshSubjects

ICT = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
SHAPES, EXPRESSIONS = 300, 100


class Errors(NamedTuple):
    """Largest errors of noise-free frames."""

    vertex_mm: float
    jaw_degrees: float
    neck_degrees: float


def flame_sized(head: HeadModel) -> HeadModel:
    """The head with smooth modes added up to FLAME's numbers of them."""
    rng = np.random.default_rng(0)
    more = SHAPES + EXPRESSIONS - head.shape_count - head.expression_count
    waves = rng.normal(0, 30, (3, 3, more))
    modes = 0.0005 * np.sin(np.einsum("vi,ick->vck", head.template, waves)).astype(np.float32)
    shapes, expressions = np.split(modes, [SHAPES - head.shape_count], axis=2)
    return dataclasses.replace(
        head,
        shape_basis=np.concatenate([head.shape_basis, shapes], 2),
        expression_basis=np.concatenate([head.expression_basis, expressions], 2),
        expression_names=tuple(f"expression_{index:03d}" for index in range(EXPRESSIONS)),
    )


def errors(made: Sequence, fits: MeshFits) -> Errors:
    """Of fits of a sequence."""

    def degrees(found: np.ndarray, truth: np.ndarray) -> float:
        turns = Rotation.from_rotvec(found) * Rotation.from_rotvec(truth).inv()
        return float(np.rad2deg(turns.magnitude()).max())

    parameters = made.parameters
    return Errors(
        float(fits.max_distance_mm.max()),
        degrees(fits.jaw_pose, parameters.jaw_pose.numpy()),
        degrees(fits.neck_pose, parameters.neck_pose.numpy()),
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ict", type=Path, default=ICT)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    head = flame_sized(ict_flame_head(options.ict))
    made = sequence(head, options.frames)
    with threadpool_limits(1):
        fitter = RegisteredMeshFitter(head)
        fitter.fit_frames(made.meshes[:8], np.zeros(head.shape_count, np.float32))  # warm
        begun = time.process_time()
        shape = fitter.fit_shape(made.meshes)
        shape_s = time.process_time() - begun
        begun = time.process_time()
        fits = fitter.fit_frames(made.meshes, shape)
        frame_s = (time.process_time() - begun) / options.frames
        found = errors(made, fits)
        print(
            f"noise-free: vertices {found.vertex_mm:.5f} mm, jaw {found.jaw_degrees:.5f}, neck "
            f"{found.neck_degrees:.5f} degrees at most"
        )
        print(f"shape of a person: {shape_s:.2f} s of CPU; a frame: {1000 * frame_s:.1f} ms")
        print(f"meshes a second: {1 / frame_s:.0f} a core by CPU time")
        with tempfile.TemporaryDirectory() as folder:
            frames = []
            for index, vertices in enumerate(made.meshes):
                path = Path(folder) / f"{index:06d}.ply"
                write_mesh(path, head, vertices)
                frames.append(Frame("sequence", path.stem, path))
            flags = {"source": "meshes", "root": Path(folder), "out": Path(folder) / "fits"}
            subjects = MeshSubjects(head, FitMeshesConfig(**flags, threads=options.threads))
            wall, cpu = time.perf_counter(), time.process_time()
            subjects.fit("person", frames)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"with reading and the person's shape, {options.threads} threads: "
            f"{options.frames / wall:.0f} a second of wall clock, "
            f"{options.threads * options.frames / cpu:.0f} by CPU time of {options.threads} cores"
        )


if __name__ == "__main__":
    main()
