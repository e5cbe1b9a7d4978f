"""Anthro's expressions: lids that close, lips that meet, nothing that cuts through anything."""

import igl
import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from flame_assets.anthro import EXPRESSIONS
from flame_assets.arkit import arkit
from flame_assets.errors import UserError
from flame_assets.model.head_module import HeadDecoder, HeadParameters

DEEPEST = 0.1  # mm
BODIES = ("left_eyeball", "right_eyeball", "upper_teeth", "lower_teeth", "tongue")
ONE_SIDE = [name for name in EXPRESSIONS if not name.endswith("Right")]
QUICK = ("jawOpen", "mouthClose", "eyeBlinkLeft", "mouthPucker", "cheekPuff")


@pytest.fixture(scope="module")
def model(head) -> HeadDecoder:
    return HeadDecoder(head)


def posed(model, weights):
    """Vertices [mm] for ARKit weights."""
    pose = arkit(weights)
    rest = HeadParameters.zeros(model.head, 1)
    parameters = rest._replace(
        expression=torch.from_numpy(pose.expression)[None],
        jaw_pose=torch.from_numpy(pose.jaw_pose)[None],
        left_eye_pose=torch.from_numpy(pose.left_eye_pose)[None],
        right_eye_pose=torch.from_numpy(pose.right_eye_pose)[None],
    )
    return model(parameters).vertices[0].double().numpy() * 1e3


def split(head):
    """Triangles of the skin (with mouth and lids) and of each separate body."""
    triangles = head.triangles.astype(np.int64)
    owned = {name: np.isin(triangles, head.regions[name]).all(axis=1) for name in BODIES}
    skin = triangles[~np.any(list(owned.values()), axis=0)]
    return skin, {name: triangles[rows] for name, rows in owned.items()}


def boundary_loops(triangles):
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = set(map(tuple, edges))
    following = {j: i for i, j in known if (j, i) not in known}
    loops = []
    while following:
        start, at = following.popitem()
        loop = [start]
        while at != start:
            loop.append(at)
            at = following.pop(at)
        loops.append(np.array(loop))
    return loops


def depths(head, vertices):
    """Deepest penetrations [mm]: skin in bodies, bodies in flesh, body in body, skin in skin."""
    skin, bodies = split(head)
    loops = boundary_loops(skin)
    points, caps = [vertices], []
    for k, loop in enumerate(loops):  # close neck and eye sockets for the winding number
        points.append(vertices[loop].mean(axis=0, keepdims=True))
        apex = np.full(len(loop), len(vertices) + k)
        caps.append(np.stack([loop, np.roll(loop, -1), apex], 1))
    closed = np.concatenate(points), np.concatenate([skin, *caps])
    on_skin = np.unique(skin)
    found = {}

    def inside(ids, triangles):
        signed = igl.signed_distance(
            vertices[ids], vertices, triangles, igl.SIGNED_DISTANCE_TYPE_FAST_WINDING_NUMBER
        )[0]
        return max(0.0, float(-signed.min()))

    for name, triangles in bodies.items():
        ids = head.regions[name]
        middle = vertices[ids].mean(axis=0)
        reach = np.linalg.norm(vertices[ids] - middle, axis=1).max() + 1
        near = on_skin[np.linalg.norm(vertices[on_skin] - middle, axis=1) < reach]
        found[f"skin in {name}"] = inside(near, triangles)
        if "eyeball" in name:
            continue  # the back of the globe lies in the closed socket
        sunk = ids[igl.fast_winding_number(*closed, vertices[ids]) > 0.5]
        if len(sunk):
            distance = igl.point_mesh_squared_distance(vertices[sunk], vertices, skin)[0]
            found[f"{name} in flesh"] = float(np.sqrt(distance.max()))
        for other in ("upper_teeth", "lower_teeth"):
            if other != name:
                found[f"{name} in {other}"] = inside(ids, bodies[other])
    found["skin in skin"] = self_depth(vertices, skin, closed, np.concatenate(loops))
    return {name: depth for name, depth in found.items() if depth > DEEPEST}


def self_depth(vertices, skin, closed, rim):
    """Deepest place where the air just off a skin triangle is inside other flesh."""
    a, b, c = (vertices[skin[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    middle = (a + b + c) / 3
    covered = np.flatnonzero(igl.fast_winding_number(*closed, middle + 0.01 * normal) > 0.75)
    deepest = 0.0
    for k in covered[~np.isin(skin[covered], rim).any(axis=1)]:
        others = np.abs(middle - middle[k]).max(axis=1) < 8
        # neighbours do not count, unless they face it: two lids that touch share their corner
        others &= ~np.isin(skin, skin[k]).any(axis=1) | (normal @ normal[k] < -0.5)
        squared = igl.point_mesh_squared_distance(middle[k : k + 1], vertices, skin[others])[0]
        deepest = max(deepest, float(np.sqrt(squared[0])))
    return deepest


def with_partner(name):
    return {name: 1.0, "jawOpen": 1.0} if name == "mouthClose" else {name: 1.0}


def test_nothing_penetrates_in_neutral(head, model):
    assert depths(head, posed(model, {})) == {}


@pytest.mark.parametrize("name", QUICK)
def test_nothing_penetrates_quick(head, model, name):
    assert depths(head, posed(model, with_partner(name))) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ONE_SIDE if name not in QUICK])
def test_nothing_penetrates(head, model, name):
    assert depths(head, posed(model, with_partner(name))) == {}


def test_the_check_sees_a_penetration(head, model):
    vertices = posed(model, {})
    vertices[head.regions["upper_teeth"]] += [0, 0, 12]
    assert "upper_teeth in flesh" in depths(head, vertices)
    vertices = posed(model, {"mouthClose": 1.0})  # without its partner the lips cross
    assert "skin in skin" in depths(head, vertices)


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_a_blink_covers_the_eye_from_everywhere_in_front(head, model, side):
    vertices = posed(model, {f"eyeBlink{side}": 1.0})
    skin, bodies = split(head)
    eye = f"{side.lower()}_eyeball"
    centre = vertices[head.regions[eye]].mean(axis=0)
    lids = skin[(np.linalg.norm(vertices[skin].mean(axis=1) - centre, axis=1) < 24)]
    front = vertices[head.regions[eye]]
    front = front[(front - centre)[:, 2] > 4]
    for yaw, pitch in ((0, 0), (35, 0), (-35, 0), (0, 25), (0, -25), (25, -20), (-25, -20)):
        y, p = np.radians(yaw), np.radians(pitch)
        toward = np.array([np.sin(y) * np.cos(p), np.sin(p), np.cos(y) * np.cos(p)])
        assert covered(front, toward, vertices[lids]).all(), (yaw, pitch)


def covered(points, direction, corners):
    """Whether a ray from each point meets one of the triangles (Moeller and Trumbore)."""
    a, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    h = np.cross(direction, v)
    det = np.einsum("fi,fi->f", u, h)
    s = points[:, None] - a
    det = np.where(np.abs(det) < 1e-12, np.inf, det)  # edge on
    first = np.einsum("pfi,fi->pf", s, h) / det
    q = np.cross(s, u[None])
    second = np.einsum("pfi,i->pf", q, direction) / det
    t = np.einsum("pfi,fi->pf", q, v) / det
    slack = -1e-6
    return ((first >= slack) & (second >= slack) & (first + second <= 1 - slack) & (t > 0)).any(
        axis=1
    )


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_lids_stay_over_the_globe_at_any_blink(head, model, weight):
    vertices = posed(model, {"eyeBlinkLeft": weight})
    centre = (head.joint_regressor[3] @ head.template).astype(float) * 1e3
    globe = np.linalg.norm(vertices[head.regions["left_eyeball"]] - centre, axis=1).max()
    skin, _ = split(head)
    outside = np.isin(skin, head.regions["skin"]).all(axis=1)
    near = np.linalg.norm(vertices[skin].mean(axis=1) - centre, axis=1) < 22
    squared = igl.point_mesh_squared_distance(centre[None], vertices, skin[outside & near])[0]
    assert np.sqrt(squared[0]) > globe + 0.3


LID_MIXTURES = (
    {},
    {"eyeSquintLeft": 1.0, "cheekSquintLeft": 1.0},
    {"eyeLookDownLeft": 1.0},
    {"eyeWideLeft": 1.0, "eyeLookUpLeft": 1.0},
)


@pytest.mark.parametrize("others", LID_MIXTURES)
def test_lids_meet_in_a_blink_whoever_blinks_and_however(head, model, others):
    """Two standard deviations of every coefficient either way, and 100 random people."""
    modes = 2 * np.eye(head.shape_count)
    random = np.random.default_rng(21).standard_normal((100, head.shape_count))
    shape = torch.from_numpy(np.concatenate([modes, -modes, random]).astype(np.float32))
    expression = torch.from_numpy(arkit({"eyeBlinkLeft": 1.0} | others).expression)
    rest = HeadParameters.zeros(head, len(shape))
    mesh = model(rest._replace(shape=shape, expression=expression.expand(len(shape), -1)))
    margin = torch.from_numpy(head.regions["left_lid_margin"].copy()).long()
    lids = mesh.vertices[:, margin] * 1e3
    upper, lower = lids[:, 1:16], lids[:, 17:].flip(1)
    assert (upper - lower).norm(dim=2).max() < 0.01  # [mm]
    assert (lids - mesh.joints[:, 3:4] * 1e3).norm(dim=2).min() > 12.25  # globe and cornea


def test_lips_meet_in_neutral_and_when_closed_over_an_open_jaw(head, model):
    parameters = HeadParameters.zeros(head, 1)
    closed = model(parameters).landmarks[0]
    assert (closed[62] - closed[66]).norm() < 1e-4
    pose = arkit({"jawOpen": 1.0, "mouthClose": 1.0})
    both = model(
        parameters._replace(
            expression=torch.from_numpy(pose.expression)[None],
            jaw_pose=torch.from_numpy(pose.jaw_pose)[None],
        )
    ).landmarks[0]
    assert (both[62] - both[66]).norm() < 1e-4
    assert both[8, 1] < closed[8, 1] - 0.018  # while the chin is down


@pytest.mark.parametrize(
    ("name", "landmark", "axis", "sign"),
    [
        ("mouthSmileLeft", 54, 1, 1), ("mouthFrownLeft", 54, 1, -1),
        ("mouthStretchRight", 48, 0, -1),
        ("mouthPucker", 51, 2, 1), ("browInnerUp", 22, 1, 1), ("browDownLeft", 23, 1, -1),
        ("browOuterUpLeft", 26, 1, 1), ("jawLeft", 8, 0, 1), ("jawRight", 8, 0, -1),
        ("jawForward", 8, 2, 1), ("mouthLeft", 51, 0, 1), ("mouthUpperUpLeft", 52, 1, 1),
        ("mouthLowerDownRight", 58, 1, -1), ("noseSneerLeft", 35, 1, 1),
        ("eyeBlinkLeft", 43, 1, -1),
        ("eyeWideRight", 37, 1, 1), ("eyeLookDownLeft", 43, 1, -1), ("eyeLookUpRight", 37, 1, 1),
        ("mouthRollUpper", 51, 1, -1), ("mouthShrugLower", 57, 1, 1),
    ],
)  # fmt: skip
def test_expressions_move_what_they_name(head, model, name, landmark, axis, sign):
    rest = HeadParameters.zeros(head, 1)
    expression = torch.from_numpy(arkit({name: 1.0}).expression)[None]
    moved = model(rest._replace(expression=expression)).landmarks - model(rest).landmarks
    assert sign * moved[0, landmark, axis] > 1e-3
    far = {"eye": 8, "brow": 8, "mouth": 19, "jaw": 19, "nose": 8}
    for part, other in far.items():
        if name.startswith(part):
            assert moved[0, other].norm() < 1e-3


def test_left_and_right_are_mirror_images(head):
    names = head.expression_names
    flip = np.array([-1, 1, 1], np.float32)
    jaw = head.skinning_weights[:, 2:3]  # tells the lips apart where they touch
    distance, twin = KDTree(np.hstack([head.template, jaw])).query(
        np.hstack([head.template * flip, jaw])
    )
    assert distance.max() < 2e-6
    assert (twin[twin] == np.arange(head.vertices_count)).all()
    pairs = [name for name in names if name.endswith("Left")]
    assert len(pairs) == 20
    for name in pairs:
        left = head.expression_basis[:, :, names.index(name)]
        right = head.expression_basis[:, :, names.index(name.replace("Left", "Right"))]
        assert np.abs(left).max() > 5e-4, name
        np.testing.assert_allclose(left[twin] * flip, right, atol=1e-6, err_msg=name)


def test_arkit_opens_by_the_joint_and_turns_the_eyes():
    pose = arkit({"jawOpen": 0.5, "eyeLookUpLeft": 1.0, "eyeLookInRight": 1.0, "tongueOut": 0.3})
    assert np.degrees(pose.jaw_pose[0]) == pytest.approx(9.5, abs=0.1)
    assert pose.left_eye_pose[0] < 0  # upward
    assert pose.right_eye_pose[1] > 0  # towards the nose, that is the subject's left
    assert pose.expression[EXPRESSIONS.index("jawOpen")] == pytest.approx(0.5)
    with pytest.raises(UserError, match="eyeBlink"):
        arkit({"eyeBlink": 1.0})


@pytest.mark.parametrize("name", ["eyeLookDownLeft", "eyeLookUpLeft"])
def test_the_upper_lid_follows_the_gaze(head, model, name):
    still, moved = posed(model, {}), posed(model, {name: 1.0})
    margin = head.regions["left_lid_margin"]
    top = margin[np.argmax(still[margin, 1])]
    centre = (head.joint_regressor[3] @ head.template).astype(float) * 1e3

    def elevation(vertices):
        away = vertices[top] - centre
        return np.degrees(np.arctan2(away[1], away[2]))

    gaze = np.degrees(arkit({name: 1.0}).left_eye_pose[0])
    turned = elevation(still) - elevation(moved)  # positive down, as the gaze
    assert 0.6 < turned / gaze < 1.1
