"""ICT-FaceKit Light as a HeadModel: skin, mouth, teeth and turning eyes; ARKit names."""

from pathlib import Path

import numpy as np

from flame_assets.arkit import EXPRESSIONS
from flame_assets.model.head import HeadModel

# fmt: off
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088,
    3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140,
    2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216,
    6207, 6470, 5517, 5966,
])
# fmt: on
"""The published vertices of iBUG's landmarks."""
PARTS = {
    "skin": slice(0, 11248),
    "mouth_inside": slice(11248, 13294),
    "eye_sockets": slice(13294, 14062),
    "tongue": slice(14062, 17039),
    "upper_teeth": slice(17039, 19247),
    "lower_teeth": slice(19247, 21451),
    "left_eyeball": slice(21451, 23021),
    "right_eyeball": slice(23021, 24591),
}
KEPT = 24591
EYE_CENTRE = np.array([0.031165, 0.036016, 0.079823])
"""Of the left eye's sphere [m]."""
IRIS_START = {"left_eyeball": 22221, "right_eyeball": 23791}
SKIN, LIPS, SCLERA, IRIS, PUPIL, MOUTH, TEETH = (
    (0.85, 0.665, 0.56), (0.74, 0.44, 0.41), (0.93, 0.92, 0.90), (0.25, 0.17, 0.11),
    (0.03, 0.03, 0.03), (0.46, 0.20, 0.20), (0.92, 0.90, 0.84),
)  # fmt: skip
IRIS_RADIUS, PUPIL_RADIUS = 0.0060, 0.0022
"""Painted around the eyes' axes [m]."""


def ict_head(path: Path) -> HeadModel:
    """Read `ict_facekit_light.npz`; metres, identity ~ N(0, 1), expression weights in [0, 1]."""
    data = np.load(path)
    template = data["neutral"][:KEPT] * 0.01
    expressions, names = _arkit_expressions(data)
    corners = data["faces"].astype(np.int64)
    quads = corners[(corners >= 0).all(1)]
    triangles = np.concatenate([corners[:, :3], quads[:, [0, 2, 3]]])
    triangles = triangles[(triangles < KEPT).all(1)]
    weights = np.zeros((KEPT, 5))
    weights[:, 0] = 1
    regressor = np.zeros((5, KEPT))
    regressor[:3, 0] = 1
    for joint, name, sign in ((3, "left_eyeball", 1), (4, "right_eyeball", -1)):
        part = PARTS[name]
        weights[part] = np.eye(5)[joint]
        sclera = np.arange(part.start, IRIS_START[name])
        system = np.column_stack([template[sclera], np.ones(len(sclera))]).T
        target = [*(EYE_CENTRE * [sign, 1, 1]), 1.0]
        regressor[joint, sclera] = np.linalg.pinv(system) @ target
    of_vertex = np.zeros(KEPT, np.int64)
    for corner in range(3):
        of_vertex[triangles[:, corner]] = np.arange(len(triangles))
    pinned = of_vertex[LANDMARKS]
    barycentric = (triangles[pinned] == LANDMARKS[:, None]).astype(np.float32)
    contour = pinned[:17].astype(np.int32)
    return HeadModel(
        name="ict-facekit-light",
        version="da5f95a",
        licence="MIT, (c) 2020 USC Institute for Creative Technologies",
        template=template.astype(np.float32),
        triangles=triangles.astype(np.int32),
        shape_basis=_modes(data["identity"]),
        expression_basis=_modes(expressions),
        pose_basis=np.zeros((KEPT, 3, 36), np.float32),
        joint_regressor=regressor.astype(np.float32),
        skinning_weights=weights.astype(np.float32),
        landmark_triangles=pinned[17:].astype(np.int32),
        landmark_barycentric=barycentric[17:],
        contour_triangles=np.tile(contour, (79, 1)),
        contour_barycentric=np.tile(barycentric[:17], (79, 1, 1)),
        static_contour_triangles=contour,
        static_contour_barycentric=barycentric[:17],
        expression_convention="arkit",
        expression_names=names,
        expression_bounds=(0.0, 1.0),
        regions={
            name: np.arange(part.start, part.stop, dtype=np.int32) for name, part in PARTS.items()
        },
        colours=_colours(template),
    )


def _arkit_expressions(data: np.lib.npyio.NpzFile) -> tuple[np.ndarray, tuple[str, ...]]:
    deltas = dict(
        zip((str(name) for name in data["expression_names"]), data["expression"], strict=True)
    )
    found = {}
    for name in EXPRESSIONS:
        side = {"Left": "_L", "Right": "_R"}
        ending = next((end for end in side if name.endswith(end)), "")
        paired = name.removesuffix(ending) + side.get(ending, "")
        if name in deltas:
            found[name] = deltas[name]
        elif paired in deltas:
            found[name] = deltas[paired]
        else:
            found[name] = deltas[f"{name}_L"].astype(np.float32) + deltas[f"{name}_R"]
    return np.stack([delta[:KEPT] for delta in found.values()]), tuple(found)


def _modes(deltas: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(
        (deltas[:, :KEPT].astype(np.float32) * 0.01).transpose(1, 2, 0), np.float32
    )


def _colours(template: np.ndarray) -> np.ndarray:
    colours = np.tile(np.float32(SKIN), (KEPT, 1))
    for part in ("mouth_inside", "tongue"):
        colours[PARTS[part]] = MOUTH
    for part in ("upper_teeth", "lower_teeth"):
        colours[PARTS[part]] = TEETH
    for part, sign in (("left_eyeball", 1), ("right_eyeball", -1)):
        aside = template[PARTS[part]] - EYE_CENTRE * [sign, 1, 1]
        radius = np.hypot(aside[:, 0], aside[:, 1])
        front = aside[:, 2] > 0
        colours[PARTS[part]] = SCLERA
        rows = np.arange(PARTS[part].start, PARTS[part].stop)
        colours[rows[front & (radius < IRIS_RADIUS)]] = IRIS
        colours[rows[front & (radius < PUPIL_RADIUS)]] = PUPIL
    return colours
