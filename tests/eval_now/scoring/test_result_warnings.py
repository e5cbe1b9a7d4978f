"""Named warnings of eval-now: one for every usual mistake, none for good predictions."""

from pathlib import Path

import numpy as np
import pytest
from helpers.eval_toy import NAMES, evaluate, face, write_now, write_predictions
from scipy.spatial.transform import Rotation

from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_ply
from eval_now.scoring.result_files import load_result


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set."""
    return write_now(tmp_path_factory.mktemp("now"))


def warnings_for(now: Path, tmp_path: Path, change, **settings) -> set[str]:
    """Names of the warnings after one prediction's landmarks or vertices were changed."""
    folder = write_predictions(tmp_path / "p", names=NAMES[:1])
    listed = tmp_path / "list.txt"
    listed.write_text(NAMES[0])
    base = folder / NAMES[0].removesuffix(".jpg")
    mesh, landmarks = face(1)
    vertices, points = change(mesh.vertices.copy(), landmarks.copy())
    save_ply(base.with_suffix(".ply"), Mesh(vertices, mesh.triangles))
    base.with_suffix(".obj").unlink()
    save_landmarks(base.with_suffix(".npy"), points)
    result, _ = evaluate(now, predictions=folder, image_list=listed, out=tmp_path / "o", **settings)
    return {warning.name for warning in result.warnings}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda v, p: (v, p), set()),
        (lambda v, p: (v * [-1, 1, 1], p * [-1, 1, 1]), {"reflection"}),
        (lambda v, p: (v, p[[3, 2, 1, 0, 4, 6, 5]]), {"landmark_order", "reflection"}),
        (lambda v, p: (v, p[[0, 1, 2, 3, 4, 6, 5]]), {"landmark_order"}),
        (lambda v, p: (v, p / 1000), {"landmarks_off_surface"}),
    ],
)
def test_warnings_name_what_is_wrong(now, tmp_path, change, expected):
    assert warnings_for(now, tmp_path, change) == expected


@pytest.mark.parametrize(("factor", "unit"), [(0.001, "mm"), (0.1, "mm"), (1, "m"), (1, "cm")])
def test_wrong_units_are_named(now, tmp_path, factor, unit):
    names = warnings_for(
        now, tmp_path, lambda v, p: (v * factor, p * factor), unit=unit, protocol="metrical"
    )
    assert "unit" in names


def test_a_mesh_far_away_is_scored_and_named(now, tmp_path):
    assert "landmarks_off_surface" in warnings_for(now, tmp_path, lambda v, p: (v + 1e6, p))
    (image,) = load_result(tmp_path / "o").protocols[0].images
    assert image.scale > 0
    assert image.median > 0


def test_a_turned_refinement_is_named(now, tmp_path):
    turn = Rotation.from_rotvec([0, 0, np.radians(50)]).as_matrix()
    names = warnings_for(now, tmp_path, lambda v, p: (v, (p - p[4]) @ turn.T + p[4]))
    assert "large_turn" in names
