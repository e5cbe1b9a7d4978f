"""GNM Head v3: every figure of the official code (parity item `gnm`), and files that are none."""

import gnm_weights
import numpy as np
import parity_compare
import pytest
import torch

from flame_assets.errors import UserError
from flame_assets.formats.gnm import convert_gnm, current_name
from flame_assets.model.head_module import HeadDecoder, HeadParameters

SEED, TOLERANCE = 1, 2e-5


@pytest.fixture(scope="module")
def official(parity_folder):
    return parity_compare.load(parity_folder, "gnm")


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Heads of the small size by their kind of correctives, landmarks in either order."""
    made = {}
    for kind, order in (("no_root", "2026-07"), ("zero", "ibug")):
        folder = tmp_path_factory.mktemp(kind)
        gnm_weights.write_gnm_npz(folder / "gnm_head.npz", SEED, "small", kind)
        gnm_weights.write_landmarks(folder / "head_sparse_68.txt", SEED, "small", order)
        made[kind] = convert_gnm(folder / "gnm_head.npz")
    return made


def posed(head, row):
    """Vertices and landmarks [m] of a parameter set, with GNM's translation."""
    given = gnm_weights.gnm_parameters(SEED)
    neck, skull, left, right = (torch.from_numpy(r)[None] for r in given["rotations"][row])
    parameters = HeadParameters(
        shape=torch.from_numpy(given["identity"][row])[None],
        expression=torch.from_numpy(given["expression"][row])[None],
        global_pose=neck,
        neck_pose=skull,
        jaw_pose=torch.zeros(1, 3),
        left_eye_pose=left,
        right_eye_pose=right,
    )
    with torch.no_grad():
        mesh = HeadDecoder(head)(parameters)
    move = given["translation"][row]
    return mesh.vertices[0].numpy() + move, mesh.landmarks[0].numpy() + move, mesh.joints[0], move


@pytest.mark.parametrize(
    ("kind", "row"),
    [("no_root", 0), ("no_root", 1), ("no_root", 2), ("no_root", 3), ("no_root", 4)]
    + [("zero", 3), ("zero", 4)],
)
def test_vertices_joints_and_landmarks_are_the_official_code_s(official, heads, kind, row):
    spec, want = official
    stored = f"small/{'full' if row < 3 else kind}/{row}"
    vertices, points, joints, move = posed(heads[kind], row)
    assert parity_compare.error(want[f"{stored}/vertices"], vertices) < TOLERANCE
    sums = gnm_weights.landmarks(SEED, "small")[1].sum(1, keepdims=True)  # 0.999 to 1.001
    assert parity_compare.error(want[f"{stored}/landmarks68"], points * sums) < TOLERANCE
    official_joints = want[f"small/full/{row}/joints"]
    ours = joints[[0, 1, 3, 4]].numpy() + move
    assert parity_compare.error(official_joints, ours) < TOLERANCE


def test_the_synthetic_file_is_the_stored_one(official):
    spec, _ = official
    model = gnm_weights.gnm_model(SEED, "small", "no_root")
    assert gnm_weights.checksum(model) == spec["fingerprints"]["small/no_root/crc32"]


@pytest.mark.slow
def test_the_public_size_too(official, tmp_path):
    gnm_weights.write_gnm_npz(tmp_path / "gnm_head.npz", SEED, "full", "no_root", compressed=True)
    gnm_weights.write_landmarks(tmp_path / "head_sparse_68.txt", SEED, "full", "2026-07")
    head = convert_gnm(tmp_path / "gnm_head.npz")
    assert (head.vertices_count, len(head.triangles)) == (17821, 35324)
    vertices, *_ = posed(head, 4)
    _, want = official
    assert parity_compare.summary_error(want, "full/no_root/4/vertices", vertices) < TOLERANCE


def test_the_head_brings_its_own_convention(heads):
    head = heads["zero"]
    assert head.expression_convention == "pca"
    assert head.expression_bounds is None
    assert "Apache-2.0" in head.licence
    assert (head.skinning_weights[:, 2] == 0).all()
    assert len(head.regions["left_eyeball"]) == 120
    points = HeadDecoder(head).frontal_landmarks(torch.tensor(head.template)[None])[0]
    assert points[36, 0] < 0 < points[45, 0]  # the subject's right eye is at negative x
    assert points[0, 0] < points[8, 0] < points[16, 0]


def test_uv_corners_are_the_file_s(heads):
    head, model = heads["zero"], gnm_weights.gnm_model(SEED, "small", "zero")
    corners = {}
    for quad, uvs in zip(model["quads"], model["quad_uvs"], strict=True):
        for vertex, uv in zip(quad.tolist(), uvs.tolist(), strict=True):
            corners.setdefault(vertex, set()).add(tuple(np.round(uv, 5)))
    for triangle, uv in zip(head.triangles[::97], head.uv_triangles[::97], strict=True):
        for vertex, row in zip(triangle.tolist(), uv.tolist(), strict=True):
            assert tuple(np.round(head.uv[row].astype(float), 5)) in corners[vertex]


@pytest.fixture(scope="module")
def model():
    return gnm_weights.gnm_model(SEED, "small", "zero")


def refused(tmp_path, model, words):
    np.savez(tmp_path / "gnm_head.npz", **model)
    if not (tmp_path / "head_sparse_68.txt").exists():
        gnm_weights.write_landmarks(tmp_path / "head_sparse_68.txt", SEED, "small")
    with pytest.raises(UserError, match=words) as caught:
        convert_gnm(tmp_path / "gnm_head.npz")
    assert "\n" not in str(caught.value)


def root_moves(model):
    correctives = model["pose_correctives_regressor"].copy()
    correctives[2, 7] = 0.01
    return model | {"pose_correctives_regressor": correctives}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (root_moves, "correctives of the root joint"),
        (lambda m: {k: v for k, v in m.items() if k != "quads"}, "lacks quads"),
        (lambda m: m | {"version": np.array("2.0")}, "version 2.0 head, expected 3.0"),
        (lambda m: m | {"variant": np.array("body")}, "3.0 body"),
        (lambda m: m | {"joint_names": m["joint_names"][::-1]}, "has the joints"),
        (lambda m: m | {"quads": m["quads"] + 9999}, "quads of vertices"),
        (lambda m: m | {"template_vertex_positions": m["quads"].astype("f4") * np.nan}, "NaN"),
        (lambda m: m | {"skinning_weights": m["skinning_weights"][:, :9]}, "does not fit"),
        (lambda m: m | {"version": np.array({"a": 1})}, "version"),
    ],
)
def test_other_files_are_one_line(tmp_path, model, change, words):
    refused(tmp_path, change(model), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 0.5 2 0.5 3 0\n" * 67, "68 lines"),
        ("1 0.5 2 0.5 3 0.5\n" * 68, "do not sum to 1"),
        ("9999 1 2 0 3 0\n" * 68, "another topology"),
        ("<!doctype html>", "no landmark file"),
        ("1 nan 2 0.5 3 0.5\n" * 68, "no landmark file"),
    ],
)
def test_other_landmark_files_are_one_line(tmp_path, model, text, words):
    (tmp_path / "head_sparse_68.txt").write_text(text)
    refused(tmp_path, model, words)


def test_without_landmarks_or_whole_file_one_line(tmp_path, model):
    gnm_weights.write_gnm_npz(tmp_path / "gnm_head.npz", SEED, "small", "zero")
    with pytest.raises(UserError, match="flame-assets get gnm"):
        convert_gnm(tmp_path / "gnm_head.npz")
    data = (tmp_path / "gnm_head.npz").read_bytes()
    (tmp_path / "gnm_head.npz").write_bytes(data[: len(data) // 2])
    gnm_weights.write_landmarks(tmp_path / "head_sparse_68.txt", SEED, "small")
    with pytest.raises(UserError, match="zip archive"):
        convert_gnm(tmp_path / "gnm_head.npz")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mouth_012", "lower_face_region_012"),
        ("left_eye_003", "left_eye_region_003"),
        ("left_eye_region_003", "left_eye_region_003"),
        ("tongue_mean", "tongue_mean"),
    ],
)
def test_names_of_earlier_files_become_today_s(old, new):
    assert current_name(old) == new
