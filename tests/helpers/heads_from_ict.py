"""ICT-FaceKit's people and expressions in the real keys of FLAME's and GNM's files.

The real files cannot be had where the tests run, and the synthetic ones of the parity figures are
random: no photo can be fitted with them. FLAME gets skin and eyeballs only, a jaw joint, and
principal components of natural expressions; GNM gets all parts, modes by region and no jaw joint.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from flame_assets.arkit import EXPRESSIONS
from flame_assets.formats import ict
from flame_assets.model.head import HeadModel
from mica_ext.data.synthetic.expressions import sample_expression

SAMPLES = 400
FLAME_SHAPES, FLAME_EXPRESSIONS = 300, 100
GNM_IDENTITY = (("head", 170), ("eyes", 3), ("teeth", 80))
GNM_EXPRESSION = (
    ("left_eye_region", 100),
    ("right_eye_region", 100),
    ("lower_face_region", 150),
)
CONTOURS = 79


class JawJoint(NamedTuple):
    """A joint that does what ICT's jawOpen does, as far as a joint can."""

    pivot: np.ndarray
    rotation: np.ndarray
    weights: np.ndarray
    """Of each vertex."""


def jaw_joint(head: HeadModel) -> JawJoint:
    """Rotation and pivot of the lower teeth in jawOpen, and how far each vertex goes along."""
    open_jaw = head.expression_basis[..., head.expression_names.index("jawOpen")].astype(float)
    template = head.template.astype(float)
    teeth = template[head.regions["lower_teeth"]]
    moved = teeth + open_jaw[head.regions["lower_teeth"]]
    u, _, v = np.linalg.svd((moved - moved.mean(0)).T @ (teeth - teeth.mean(0)))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    shift = moved.mean(0) - rotation @ teeth.mean(0)
    pivot = np.linalg.lstsq(np.eye(3) - rotation, shift, rcond=None)[0]
    rigid = (template - pivot) @ (rotation - np.eye(3)).T
    weights = (rigid * open_jaw).sum(1) / np.maximum(np.square(rigid).sum(1), 1e-8)
    for side in ("left", "right"):
        weights[head.regions[f"{side}_eyeball"]] = 0
    return JawJoint(pivot, rotation, weights.clip(0, 1))


def principal_components(shapes: np.ndarray, names: tuple[str, ...], count: int) -> np.ndarray:
    """Modes [count,V,3] of unit variance of natural expressions; zeros fill up to `count`."""
    rows = []
    for index in range(SAMPLES):
        weights = sample_expression(np.random.default_rng([1, index]), names)
        rows.append([weights.get(name, 0.0) for name in names])
    root = np.linalg.cholesky(np.cov(np.array(rows).T, bias=True) + 1e-5 * np.eye(len(names)))
    modes = np.einsum("nk,nvx->kvx", root, shapes).reshape(len(names), -1)
    _, s, v = np.linalg.svd(modes, full_matrices=False)
    filled = np.zeros((count, *shapes.shape[1:]), np.float32)
    filled[: len(s)] = (s[:, None] * v).reshape(-1, *shapes.shape[1:])[:count]
    return filled


def write_flame(head: HeadModel, folder: Path) -> Path:
    """FLAME2020/generic_model.npz with landmark_embedding.npy beside it; `head` is ICT's."""
    folder.mkdir(parents=True, exist_ok=True)
    jaw = jaw_joint(head)
    eyes = [head.regions[f"{side}_eyeball"] for side in ("left", "right")]
    keep = np.concatenate([np.arange(ict.SKIN_VERTICES.stop), *eyes])
    position = np.full(head.vertices_count, -1)
    position[keep] = np.arange(len(keep))
    inside = (position[head.triangles] >= 0).all(1)
    row_of = np.cumsum(inside) - 1
    shapes = head.expression_basis.transpose(2, 0, 1).astype(float).copy()
    rigid = (head.template - jaw.pivot) @ (jaw.rotation - np.eye(3)).T
    shapes[EXPRESSIONS.index("jawOpen")] -= jaw.weights[:, None] * rigid
    skinning = head.skinning_weights.astype(float).copy()
    skinning *= 1 - jaw.weights[:, None]
    skinning[:, 2] += jaw.weights
    regressor = head.joint_regressor.astype(float).copy()
    ones = np.column_stack([head.template[keep], np.ones(len(keep))]).astype(float)
    regressor[2] = 0
    regressor[2, keep] = np.linalg.lstsq(ones.T, np.append(jaw.pivot, 1), rcond=None)[0]
    basis = np.zeros((len(keep), 3, FLAME_SHAPES + FLAME_EXPRESSIONS), np.float32)
    basis[..., : head.shape_count] = head.shape_basis[keep]
    modes = principal_components(shapes[:, keep], EXPRESSIONS, FLAME_EXPRESSIONS)
    basis[..., FLAME_SHAPES:] = modes.transpose(1, 2, 0)
    np.savez(
        folder / "generic_model.npz",
        v_template=head.template[keep],
        f=position[head.triangles[inside]].astype(np.uint32),
        shapedirs=basis,
        posedirs=np.zeros((len(keep), 3, 36), np.float32),
        J_regressor=regressor[:, keep],
        weights=skinning[keep],
        kintree_table=np.array([[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
    )
    inner, contour = row_of[head.landmark_triangles], row_of[head.static_contour_triangles]
    full = np.concatenate([contour, inner])[None]
    weights = np.concatenate([head.static_contour_barycentric, head.landmark_barycentric])[None]
    table = {
        "static_lmk_faces_idx": inner,
        "static_lmk_bary_coords": head.landmark_barycentric,
        "dynamic_lmk_faces_idx": np.tile(contour, (CONTOURS, 1)),
        "dynamic_lmk_bary_coords": np.tile(head.static_contour_barycentric, (CONTOURS, 1, 1)),
        "full_lmk_faces_idx": full,
        "full_lmk_bary_coords": weights,
    }
    np.save(folder / "landmark_embedding.npy", np.array(table, object), allow_pickle=True)
    return folder / "generic_model.npz"


def write_gnm(head: HeadModel, arrays: ict.IctArrays, folder: Path) -> Path:
    """gnm_head.npz with head_sparse_68.txt beside it; `head` and `arrays` are ICT's."""
    folder.mkdir(parents=True, exist_ok=True)
    count = head.vertices_count
    shapes = head.expression_basis.transpose(2, 0, 1).astype(float)
    regions = [_gnm_region(name) for name in EXPRESSIONS]
    parts = []
    for region, size in GNM_EXPRESSION:
        rows = [k for k, own in enumerate(regions) if own == region]
        names = tuple(EXPRESSIONS[k] for k in rows)
        parts.append(principal_components(shapes[rows], names, size))
    others = ["tongue_mean", *(f"tongue_{k:03d}" for k in range(31)), "pupils_000"]
    parts.append(np.zeros((len(others), count, 3), np.float32))
    names = [f"{name}_{k:03d}" for name, size in GNM_EXPRESSION for k in range(size)] + others
    identity = np.zeros((sum(size for _, size in GNM_IDENTITY), count, 3), np.float32)
    identity[: head.shape_count] = head.shape_basis.transpose(2, 0, 1)
    joints = [0, 1, 3, 4]
    regressor = head.joint_regressor[joints]
    skinning = head.skinning_weights.T[joints].copy()
    quads = arrays.faces[(arrays.faces[:, 3] >= 0) & (arrays.faces < count).all(1)]
    groups = _gnm_groups(head)
    x, y, z = head.template.T
    uv = np.column_stack([0.5 + np.arctan2(x, z) / 6.5, (y - y.min()) / np.ptp(y)])
    np.savez(
        folder / "gnm_head.npz",
        version=np.array("3.0"),
        variant=np.array("head"),
        template_vertex_positions=head.template,
        template_joint_positions=(regressor @ head.template).astype(np.float32),
        vertex_identity_basis=identity,
        joint_identity_basis=np.einsum("jv,kvx->kjx", regressor, identity),
        expression_basis=np.concatenate(parts),
        identity_names=np.array([f"{n}_{k:03d}" for n, size in GNM_IDENTITY for k in range(size)]),
        expression_names=np.array(names),
        joint_names=np.array(["neck", "head", "left_eye", "right_eye"]),
        joint_parent_indices=np.array([-1, 0, 1, 1], np.int32),
        skinning_weights=skinning,
        quads=quads.astype(np.int32),
        quad_uvs=uv[quads].astype(np.float32),
        pose_correctives_regressor=np.zeros((36, 3 * count), np.float32),
        vertex_groups=np.stack(list(groups.values())).astype(np.float32),
        vertex_group_names=np.array(list(groups)),
    )
    lines = [_landmark_line(vertex, quads) for vertex in ict.LANDMARKS.tolist()]
    (folder / "head_sparse_68.txt").write_text("\n".join(lines) + "\n")
    return folder / "gnm_head.npz"


def _gnm_region(expression: str) -> str:
    if expression.startswith(("eye", "brow", "cheekSquint")):
        return "right_eye_region" if expression.endswith("Right") else "left_eye_region"
    return "lower_face_region"


def _gnm_groups(head: HeadModel) -> dict[str, np.ndarray]:
    """Membership of the groups that the reader knows."""

    def members(*names: str) -> np.ndarray:
        row = np.zeros(head.vertices_count)
        for name in names:
            row[head.regions[name]] = 1
        return row

    groups = {
        "left_eye": members("left_eyeball"),
        "right_eye": members("right_eyeball"),
        "upper_teeth_and_gums": members("upper_teeth"),
        "lower_teeth_and_gums": members("lower_teeth"),
        "tongue": members("gums_tongue"),
        "mouth_sock": members("mouth_inside"),
        "eye_sockets": members("left_eye_socket", "right_eye_socket"),
        "hockey_mask": members("face"),
        "teeth": members("upper_teeth", "lower_teeth"),
        "eyes": members("left_eyeball", "right_eyeball"),
    }
    taken = sum(groups[name] for name in list(groups)[:5])
    return groups | {"skin": (taken == 0).astype(float)}


def _landmark_line(vertex: int, quads: np.ndarray) -> str:
    quad = quads[int(np.flatnonzero((quads == vertex).any(1))[0])].tolist()
    others = [corner for corner in quad if corner != vertex][:2]
    return f"{vertex} 1.000 {others[0]} 0.000 {others[1]} 0.000"
