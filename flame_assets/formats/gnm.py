"""Google's GNM Head v3 (`gnm_head.npz`, Apache-2.0) -> HeadModel.

Forward model: bind = T + I identity + E expression + P (R - I); joints = J + Q identity; linear
blend skinning. Four joints: GNM's neck is our global joint, its head our neck; there is no jaw
joint (the lower face moves by expression modes). Source: google/GNM, gnm/shape.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32
from scipy.spatial import KDTree

from flame_assets.errors import UserError
from flame_assets.formats.assembly import (
    IRIS,
    LIPS,
    PUPIL,
    SCLERA,
    SKIN,
    TEETH,
    pinned_landmarks,
    solve_joint_regressor,
)
from flame_assets.formats.flame_files import float32, int32
from flame_assets.inert.arrays import as_array
from flame_assets.inert.files import ReadError, errors_of, read_regular, shown
from flame_assets.inert.npy import read_npz
from flame_assets.model.head import HeadModel

LICENCE = "Apache-2.0, Google (GNM Head v3)"
VERSION, VARIANT = "3.0", "head"
LANDMARK_FILE = "head_sparse_68.txt"
LANDMARK_BYTES = 1 << 16
JAW_REVERSED = (0, 1, 6, 5, 4, 3, 2, *range(7, 68))
"""iBUG point of each row in the landmark file of July 2026: rows 2 to 6 are reversed."""
JOINTS = ("neck", "head", "left_eye", "right_eye")
JOINT_OF_OURS = (0, 1, 1, 2, 3)
"""GNM's joint for global, neck, jaw (which moves nothing), left eye, right eye."""
MEMBER = 1e-4
"""Weight from which on a vertex belongs to a group."""
OLD_NAMES = (
    ("eyeballs_", "eyes_"),
    ("left_eye_", "left_eye_region_"),
    ("right_eye_", "right_eye_region_"),
    ("mouth_", "lower_face_region_"),
)
"""Prefixes of mode names before 14 July 2026, and today's."""
ARRAYS = (
    "template_vertex_positions",
    "template_joint_positions",
    "vertex_identity_basis",
    "joint_identity_basis",
    "expression_basis",
    "skinning_weights",
    "quads",
    "quad_uvs",
    "pose_correctives_regressor",
    "vertex_groups",
    "joint_parent_indices",
)
TEXTS = ("version", "variant", "identity_names", "expression_names", "joint_names")
GROUP_NAMES = "vertex_group_names"


class _SplitQuads(NamedTuple):
    """A mesh of triangles, and the landmarks on it."""

    triangles: Int32[np.ndarray, "F 3"]
    corner_uvs: Float32[np.ndarray, "F 3 2"]
    landmark_triangles: Int32[np.ndarray, " 68"]
    landmark_barycentric: Float[np.ndarray, "68 3"]


def convert_gnm(model: Path, landmarks: Path | None = None, name: str | None = None) -> HeadModel:
    """Convert `gnm_head.npz` with its 68 landmarks.

    Args:
        model: the file.
        landmarks: head_sparse_68.txt; by default the one beside `model`. Both orders of the jaw
            that Google published are told apart by geometry. Weights are divided by their sum.
        name: of the head, by default "gnm".

    Raises:
        UserError: a file is missing, cannot be read, or is no GNM Head v3.
    """
    landmarks = landmarks or model.parent / LANDMARK_FILE
    try:
        content = read_npz(model, {*ARRAYS, *TEXTS, GROUP_NAMES}, text=True)
        with errors_of(model):
            return _assemble(content, _read_landmarks(landmarks), name or "gnm")
    except ReadError as error:
        raise UserError(
            f"{error}; expected GNM Head v3's gnm_head.npz and its landmarks"
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{model} is no GNM head: it does not fit: {shown(str(error))}") from error


def current_name(name: str) -> str:
    """Today's name of a mode that an earlier file calls otherwise."""
    for old, new in OLD_NAMES:
        if re.fullmatch(rf"{old}\d+", name):
            return new + name.removeprefix(old)
    return name


def _assemble(
    content: dict[str, Any], rows: tuple[Int32[np.ndarray, "68 3"], np.ndarray], name: str
) -> HeadModel:
    missing = ", ".join(key for key in (*ARRAYS, *TEXTS, GROUP_NAMES) if key not in content)
    if missing:
        raise ReadError(f"lacks {missing}")
    version, variant = content["version"], content["variant"]
    if (version, variant) != (VERSION, VARIANT):
        raise ReadError(
            f"is of version {shown(version)} {shown(variant)}, expected {VERSION} {VARIANT}"
        )
    if tuple(content["joint_names"]) != JOINTS:
        raise ReadError(f"has the joints {shown(str(content['joint_names']))}, expected {JOINTS}")
    if as_array(content["joint_parent_indices"])[1:].tolist() != [0, 1, 1]:
        raise ReadError("has joints with other parents than neck, head, head")
    arrays = {key: as_array(content[key]) for key in ARRAYS}
    template = float32(arrays["template_vertex_positions"])
    count = len(template)
    identity = float32(arrays["vertex_identity_basis"])
    expression = float32(arrays["expression_basis"])
    quads, quad_uvs = int32(arrays["quads"]), float32(arrays["quad_uvs"])
    if quads.size and quads.max() >= count:
        raise ReadError(f"has quads of vertices up to {quads.max()}, expected below {count}")
    correctives = float32(arrays["pose_correctives_regressor"]).reshape(36, count, 3)
    if correctives[:9].any():
        raise ReadError(
            "has pose correctives of the root joint, which no head here can hold (those of the "
            "published file are zero)"
        )
    split = _split_quads(quads, quad_uvs, template, *_in_order(rows, template))
    uv, uv_triangles = _merge_uvs(split.triangles, split.corner_uvs)
    groups = _groups(content, count)
    names = tuple(current_name(text) for text in content["expression_names"])
    pose_basis = np.zeros((count, 3, 36), np.float32)
    for target, source in ((0, 9), (18, 18), (27, 27)):  # neck, left eye, right eye
        block = correctives[source : source + 9]
        pose_basis[..., target : target + 9] = block.transpose(1, 2, 0)
    skinning = float32(arrays["skinning_weights"])
    ours = np.zeros((count, 5), np.float32)
    for target, source in ((0, 0), (1, 1), (3, 2), (4, 3)):
        ours[:, target] = skinning[source]
    return HeadModel(
        name=name,
        version=VERSION,
        licence=LICENCE,
        template=template,
        triangles=split.triangles,
        shape_basis=np.ascontiguousarray(identity.transpose(1, 2, 0)),
        expression_basis=np.ascontiguousarray(expression.transpose(1, 2, 0)),
        pose_basis=pose_basis,
        joint_regressor=_joint_regressor(arrays, template, identity, expression),
        skinning_weights=ours,
        **pinned_landmarks(split.landmark_triangles, split.landmark_barycentric)._asdict(),
        expression_convention="pca",
        expression_names=names,
        regions=groups,
        colours=_colours(template, groups),
        uv=uv,
        uv_triangles=uv_triangles,
    )


def _joint_regressor(
    arrays: dict[str, np.ndarray],
    template: Float32[np.ndarray, "V 3"],
    identity: Float32[np.ndarray, "S V 3"],
    expression: Float32[np.ndarray, "E V 3"],
) -> Float32[np.ndarray, "5 V"]:
    """GNM's joints follow identity alone, not the vertices: the regressor that gives the same."""
    fields = np.concatenate([template[None], identity, expression])
    joints = np.zeros((len(fields), len(JOINTS), 3))
    joints[0] = float32(arrays["template_joint_positions"])
    joints[1 : 1 + len(identity)] = float32(arrays["joint_identity_basis"])
    rows = fields.transpose(0, 2, 1).reshape(-1, len(template))
    regressor = solve_joint_regressor(rows, joints.transpose(0, 2, 1).reshape(-1, len(JOINTS)))
    return regressor[list(JOINT_OF_OURS)]


def _read_landmarks(path: Path) -> tuple[Int32[np.ndarray, "68 3"], Float[np.ndarray, "68 3"]]:
    """Vertex ids and weights of head_sparse_68.txt: 68 lines `id w id w id w`."""
    if not path.exists():
        raise ReadError("is missing: get it with `flame-assets get gnm`, or name it", path)
    text = read_regular(path, LANDMARK_BYTES).decode("ascii", "replace")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    number = re.compile(r"-?\d{1,9}(\.\d{1,20})?")
    fits = len(lines) == 68 and all(
        len(line) == 6 and all(map(number.fullmatch, line)) for line in lines
    )
    if not fits:
        raise ReadError("is no landmark file of GNM: expected 68 lines `id w id w id w`", path)
    table = np.array(lines, float).reshape(68, 3, 2)
    ids, weights = table[..., 0], table[..., 1]
    if (ids < 0).any() or (ids % 1).any() or (np.abs(weights.sum(1) - 1) > 0.01).any():
        raise ReadError("has landmarks whose weights do not sum to 1, or malformed ids", path)
    return ids.astype(np.int32), weights / weights.sum(1, keepdims=True)


def _in_order(
    rows: tuple[Int32[np.ndarray, "68 3"], Float[np.ndarray, "68 3"]],
    template: Float32[np.ndarray, "V 3"],
) -> tuple[Int32[np.ndarray, "68 3"], Float[np.ndarray, "68 3"]]:
    """The rows in iBUG order: of the two published orders the one with the shorter contour."""
    ids, weights = rows
    if ids.max() >= len(template):
        raise ReadError(
            f"has {len(template)} vertices, the landmarks name vertex {ids.max()}: they are of "
            "another topology"
        )
    points = np.einsum("pcx,pc->px", template[ids], weights)

    def length(order: tuple[int, ...]) -> float:
        return float(np.linalg.norm(np.diff(points[list(order)][:17], axis=0), axis=1).sum())

    plain = tuple(range(68))
    order = list(plain if length(plain) <= length(JAW_REVERSED) else JAW_REVERSED)
    return ids[order], weights[order]


def _split_quads(
    quads: Int32[np.ndarray, "Q 4"],
    quad_uvs: Float32[np.ndarray, "Q 4 2"],
    template: Float32[np.ndarray, "V 3"],
    ids: Int32[np.ndarray, "68 3"],
    weights: Float[np.ndarray, "68 3"],
) -> _SplitQuads:
    """Two triangles a quad, with the landmarks on them.

    A quad is cut along the diagonal that a landmark's three vertices need; a landmark whose
    vertices are no three of one quad lies on the nearest triangle.
    """
    corners = np.tile([[0, 1, 2], [2, 3, 0]], (len(quads), 1, 1))
    position = {}
    for quad, held in enumerate(quads.tolist()):
        for left_out in range(4):
            position[frozenset(held[:left_out] + held[left_out + 1 :])] = quad, left_out
    for triple in ids.tolist():
        quad, left_out = position.get(frozenset(triple), (None, 0))
        if quad is not None and left_out in (0, 2):  # [0,1,2] and [2,3,0] leave out 3 and 1
            corners[quad] = [[1, 2, 3], [3, 0, 1]]
    rows = np.arange(len(quads))[:, None, None]
    triangles = quads[rows, corners].reshape(-1, 3)
    uvs = quad_uvs[rows, corners].reshape(-1, 3, 2)
    found = {frozenset(triangle): number for number, triangle in enumerate(triangles.tolist())}
    numbers, ordered = np.zeros(68, np.int32), np.zeros((68, 3))
    for point, triple in enumerate(ids.tolist()):
        number = found.get(frozenset(triple))
        if number is None or len(set(triple)) < 3:
            target = weights[point] @ template[ids[point]]
            numbers[point], ordered[point] = _nearest(template, triangles, target)
            continue
        numbers[point] = number
        ordered[point] = [weights[point][triple.index(v)] for v in triangles[number].tolist()]
    return _SplitQuads(np.ascontiguousarray(triangles), uvs, numbers, ordered)


def _nearest(
    template: Float32[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    target: Float[np.ndarray, "3"],
) -> tuple[int, Float[np.ndarray, "3"]]:
    """The triangle with the corner nearest to a point that holds its projection best."""
    near = int(np.square(template - target).sum(1).argmin())
    best, chosen = np.inf, (0, np.ones(3) / 3)
    for number in np.flatnonzero((triangles == near).any(1)):
        a, b, c = template[triangles[number]].astype(float)
        plane = np.stack([b - a, c - a], 1)
        s, t = np.linalg.lstsq(plane, target - a, rcond=None)[0]
        weights = np.clip([1 - s - t, s, t], 0, None)
        weights /= weights.sum()
        distance = float(np.linalg.norm(weights @ np.stack([a, b, c]) - target))
        if distance < best:
            best, chosen = distance, (int(number), weights)
    return chosen


def _merge_uvs(
    triangles: Int32[np.ndarray, "F 3"], corner_uvs: Float32[np.ndarray, "F 3 2"]
) -> tuple[Float32[np.ndarray, "T 2"], Int32[np.ndarray, "F 3"]]:
    """Texture coordinates, one for each (vertex, coordinate) that occurs."""
    key = np.concatenate([triangles.reshape(-1, 1), corner_uvs.reshape(-1, 2)], 1)
    unique, inverse = np.unique(key, axis=0, return_inverse=True)
    return unique[:, 1:].astype(np.float32), inverse.reshape(-1, 3).astype(np.int32)


def _groups(content: dict[str, Any], count: int) -> dict[str, Int32[np.ndarray, " _"]]:
    """Vertex ids by group; eyeballs and lips also by the names that other heads have."""
    weights, names = float32(as_array(content["vertex_groups"])), content[GROUP_NAMES]
    if weights.shape != (len(names), count) or not all(isinstance(n, str) for n in names):
        raise ReadError(f"has vertex groups of {weights.shape} with {len(names)} names")
    groups = {
        name: np.flatnonzero(row > MEMBER).astype(np.int32)
        for name, row in zip(names, weights, strict=True)
        if re.fullmatch(r"[a-z0-9_]{1,80}", name)
    }
    for side in ("left", "right"):
        groups[f"{side}_eyeball"] = groups.get(f"{side}_eye", np.zeros(0, np.int32))
    lips = [groups.get(name, np.zeros(0, np.int32)) for name in ("upper_lip", "lower_lip")]
    groups["lips"] = np.unique(np.concatenate(lips))
    if "hockey_mask" in groups:
        groups["face"] = groups["hockey_mask"]
    if "mouth_sock" in groups:
        groups["mouth_inside"] = groups["mouth_sock"]
    return groups


def _colours(
    template: Float32[np.ndarray, "V 3"], groups: dict[str, Int32[np.ndarray, " _"]]
) -> Float32[np.ndarray, "V 3"]:
    """Plain colours; the cornea, which hides the iris, has the colour of what lies behind it."""
    colours = np.tile(np.array(SKIN, np.float32), (len(template), 1))
    painted = (("lips", LIPS), ("mouth_sock", LIPS), ("tongue", LIPS), ("gums", LIPS))
    eyes = (("teeth", TEETH), ("eyes", SCLERA), ("scleras", SCLERA), ("irises", IRIS))
    for name, colour in (*painted, *eyes, ("pupils", PUPIL)):
        colours[groups.get(name, [])] = colour
    shell, inner = groups.get("eye_exteriors", []), groups.get("eye_interiors", [])
    if len(shell) and len(inner):
        nearest = KDTree(template[inner]).query(template[shell])[1]
        colours[shell] = colours[np.asarray(inner)[nearest]]
    return colours
