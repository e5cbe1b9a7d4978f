"""HeadDecoder equals the official code's figures and smplx's skinning, and is differentiable."""

import dataclasses

import numpy as np
import parity_compare
import parity_weights
import pytest
import torch
from helpers.flame_tiny import tiny_head

from flame_assets.formats.flame import convert_flame
from flame_assets.model import landmarks
from flame_assets.model.head import JOINT_PARENTS, LidClosure
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.model.lbs import pose_feature, pose_joints, rotation_matrices, skin


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> HeadDecoder:
    """The parity model, through the files that FLAME comes in and our converter."""
    folder = tmp_path_factory.mktemp("flame")
    parity_weights.write_flame_pickle(folder / "generic_model.pkl", 1, style="chumpy")
    parity_weights.write_landmark_embedding(folder / "landmark_embedding.npy", 1)
    return HeadDecoder(convert_flame(folder / "generic_model.pkl"))


@pytest.fixture(scope="module")
def figures(parity_folder):
    spec, values = parity_compare.load(parity_folder, "flame")
    return spec["tolerance"]["all"], values


def parity_parameters() -> HeadParameters:
    p = {k: torch.from_numpy(v) for k, v in parity_weights.flame_parameters(1).items()}
    eyes = p["eyes"].split(3, dim=1)
    return HeadParameters(p["shape"], p["exp"], p["global"], p["neck"], p["jaw"], *eyes)


def random_parameters(head, batch=3, dtype=torch.float64) -> HeadParameters:
    torch.manual_seed(0)
    return HeadParameters(
        *(0.5 * torch.randn(p.shape, dtype=dtype) for p in HeadParameters.zeros(head, batch))
    )


def test_the_model_equals_the_official_code(official, figures):
    tolerance, want = figures
    mesh = official(parity_parameters())
    got = {
        "vertices_every_11": mesh.vertices[:, ::11],
        "smplx_vertices_every_11": mesh.vertices[:, ::11],
        "smplx_joints": mesh.joints,
        "landmarks_dynamic68": mesh.landmarks,
        "landmarks_static68": official.frontal_landmarks(mesh.vertices),
        "vertices_mean": mesh.vertices.mean(1),
        "vertices_absmax": mesh.vertices.abs().amax((1, 2)),
    }
    errors = {name: parity_compare.error(want[name], value) for name, value in got.items()}
    assert max(errors.values()) < tolerance, errors
    assert torch.equal(mesh.landmarks7, mesh.landmarks[:, [36, 39, 42, 45, 33, 48, 54]])


def test_the_contour_follows_the_yaw_as_in_the_official_code(official, figures):
    tolerance, want = figures
    poses = {k: torch.from_numpy(v) for k, v in parity_weights.flame_yaw_poses().items()}
    parameters = HeadParameters.zeros(official.head, 16)._replace(
        global_pose=poses["global"], neck_pose=poses["neck"]
    )
    mesh = official(parameters)
    assert parity_compare.error(want["yaw/contour17"], mesh.landmarks[:, :17]) < tolerance
    yaw = landmarks.head_yaw(rotation_matrices(poses["global"]), rotation_matrices(poses["neck"]))
    np.testing.assert_array_equal(landmarks.contour_row(yaw), want["yaw/table_row_mica"])
    np.testing.assert_array_equal(landmarks.contour_row(-yaw), want["yaw/table_row_smplx"])


def test_skinning_equals_smplx():
    from smplx.lbs import lbs

    head = tiny_head(lid_contacts=())
    flame = HeadDecoder(head).double()
    p = random_parameters(head)
    t = {
        name: torch.tensor(getattr(head, name), dtype=torch.float64)
        for name in ("template", "pose_basis", "joint_regressor", "skinning_weights")
    }
    basis = np.concatenate([head.shape_basis, head.expression_basis], -1)
    vertices, joints = lbs(
        torch.cat([p.shape, p.expression], 1),
        torch.cat(p[2:], 1),
        t["template"][None],
        torch.tensor(basis, dtype=torch.float64),
        t["pose_basis"].reshape(-1, 36).T,
        t["joint_regressor"],
        torch.tensor(JOINT_PARENTS),
        t["skinning_weights"],
    )
    mesh = flame(p)
    # smplx's angle is |r + 1e-8|, and our joints are folded in float32
    torch.testing.assert_close(mesh.vertices, vertices, atol=3e-8, rtol=0)
    torch.testing.assert_close(mesh.joints, joints, atol=3e-8, rtol=0)


def test_rotations_equal_the_matrix_exponential_at_every_angle():
    axis = torch.tensor([0.3, -0.8, 0.52], dtype=torch.float64)
    axis = axis / axis.norm()
    for angle in (0.0, 1e-9, 1e-5, 1e-3, 0.5, 3.14159, 6.0):
        x, y, z = (angle * axis).tolist()
        K = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        R = rotation_matrices((angle * axis)[None])[0]
        torch.testing.assert_close(R, torch.linalg.matrix_exp(K), atol=1e-12, rtol=0)
        R32 = rotation_matrices((angle * axis).float()[None])[0]
        torch.testing.assert_close(R32.double(), R, atol=1e-6, rtol=0)


def test_turning_the_whole_head_turns_it_about_its_root():
    head = tiny_head()
    flame = HeadDecoder(head).double()
    p = random_parameters(head)
    still = flame(p._replace(global_pose=torch.zeros(3, 3, dtype=torch.float64)))
    turned = flame(p)
    R = rotation_matrices(p.global_pose)
    root = still.joints[:, :1]
    torch.testing.assert_close(turned.vertices, (still.vertices - root) @ R.mT + root)


def test_a_joint_moves_only_what_hangs_on_it():
    parents = JOINT_PARENTS
    joints = torch.randn(1, 5, 3, dtype=torch.float64)
    rotations = torch.eye(3, dtype=torch.float64).repeat(1, 5, 1, 1)
    rotations[:, 2] = rotation_matrices(torch.tensor([[0.3, 0.1, -0.2]], dtype=torch.float64))
    posed = pose_joints(rotations, joints, parents)
    torch.testing.assert_close(posed.positions, joints)  # the jaw has no children
    used = pose_feature(rotations)[0].reshape(4, 9).abs().sum(1) > 0
    assert used.tolist() == [False, True, False, False]  # neck, jaw, eyes
    weights = torch.eye(5, dtype=torch.float64)
    points = joints + torch.randn(1, 5, 3, dtype=torch.float64)
    moved = (skin(points, posed.transforms, weights) - points).norm(dim=-1)[0]
    assert moved[2] > 1e-3
    assert moved[[0, 1, 3, 4]].max() < 1e-12


def test_gradients_are_right_in_float64_also_at_rest():
    head = tiny_head()
    flame = HeadDecoder(head).double()
    for scale in (0.0, 0.4):
        inputs = [scale * x[:1] for x in random_parameters(head)]
        inputs = [x.requires_grad_() for x in inputs]
        assert torch.autograd.gradcheck(lambda *x: flame(HeadParameters(*x))[:2], inputs)
        assert torch.autograd.gradcheck(lambda *x: flame(HeadParameters(*x)).landmarks7, inputs)


def test_the_landmark_head_gives_the_same_landmarks_joints_and_jacobians():
    head = tiny_head()
    big = HeadDecoder(head).double()
    small = big.landmark_head()
    assert small.vertex_ids.size <= head.vertices_count
    assert small.template.dtype == torch.float64
    p = random_parameters(head)
    a, b = big(p), small(p)
    torch.testing.assert_close(b.landmarks, a.landmarks, atol=1e-12, rtol=0)
    torch.testing.assert_close(b.joints, a.joints, atol=1e-12, rtol=0)
    torch.testing.assert_close(b.vertices, a.vertices[:, small.vertex_ids], atol=1e-12, rtol=0)

    def jacobians(flame):
        return torch.func.jacfwd(
            lambda shape, jaw: flame(p._replace(shape=shape, jaw_pose=jaw)).landmarks, (0, 1)
        )(p.shape, p.jaw_pose)

    for x, y in zip(jacobians(small), jacobians(big), strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=0)


def test_the_landmark_head_drops_what_no_landmark_needs():
    head = tiny_head()
    few = {  # every landmark on the first triangle
        name: np.zeros_like(getattr(head, name))
        for name in ("landmark_triangles", "contour_triangles", "static_contour_triangles")
    }
    few_head = dataclasses.replace(head, **few)
    small = HeadDecoder(few_head).landmark_head()
    assert small.vertex_ids.tolist() == sorted(head.triangles[0].tolist())
    p = HeadParameters.zeros(head, 2)
    torch.testing.assert_close(small(p).landmarks, HeadDecoder(few_head)(p).landmarks)
    with pytest.raises(ValueError, match="all landmark corners"):
        HeadDecoder(head, vertices=np.arange(3))


def test_lids_stay_outside_the_globe_and_the_rest_where_it_was():
    head = tiny_head()
    outer, inner = head.lid_contacts  # 200 mm: always in contact; 1 mm: never
    assert (outer.joint, inner.joint) == (3, 4)
    p = random_parameters(head, dtype=torch.float32)
    p = p._replace(**{name: torch.zeros(3, 3) for name in p._fields[2:]})
    with_lids = HeadDecoder(head)(p)
    without = HeadDecoder(dataclasses.replace(head, lid_contacts=()))(p)
    ids = outer.vertices.tolist()
    ray = with_lids.vertices[:, ids] - with_lids.joints[:, 3:4]
    torch.testing.assert_close(ray.norm(dim=-1), torch.full((3, 1), 0.2))
    before = without.vertices[:, ids] - without.joints[:, 3:4]
    cosine = torch.nn.functional.cosine_similarity(ray, before, dim=-1)
    torch.testing.assert_close(cosine, torch.ones(3, 1))
    others = np.setdiff1d(np.arange(head.vertices_count), ids)
    assert torch.equal(with_lids.vertices[:, others], without.vertices[:, others])
    assert torch.equal(with_lids.joints, without.joints)


def test_closures_scale_with_the_blink_and_what_else_moves_the_lids():
    rng = np.random.default_rng(11)
    ids, basis = np.array([2, 5], np.int32), rng.standard_normal((2, 3, 7)).astype(np.float32)
    closure = LidClosure(expression="frown", vertices=ids, basis=basis * 1e-3)
    plain = tiny_head(lid_contacts=())
    head = dataclasses.replace(plain, lid_closures=(closure,))
    p = random_parameters(head, dtype=torch.float32)
    p = p._replace(**{name: torch.zeros(3, 3) for name in p._fields[2:]})
    moved = HeadDecoder(head)(p).vertices - HeadDecoder(plain)(p).vertices
    coefficients = np.concatenate([p.shape, p.expression], axis=1)
    weight = p.expression[:, 1].numpy()  # smile, frown, blink
    expected = np.zeros(moved.shape)
    expected[:, ids] = weight[:, None, None] * np.einsum("nik,bk->bni", basis * 1e-3, coefficients)
    np.testing.assert_allclose(moved, expected, atol=1e-7)


def test_a_wrong_number_of_coefficients_is_named():
    flame = HeadDecoder(tiny_head())
    p = HeadParameters.zeros(flame.head)
    with pytest.raises(ValueError, match="tiny has 4 shape and 3 expression coefficients, got 5"):
        flame(p._replace(shape=torch.zeros(1, 5)))


def test_no_state_dict_carries_the_licensed_arrays():
    assert HeadDecoder(tiny_head()).state_dict() == {}
