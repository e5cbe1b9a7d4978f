"""ICT-FaceKit Light (MIT, USC ICT) -> HeadModel: neutral head, 100 identity modes, ARKit's shapes.

The model is a folder of OBJ files of one topology: mode = vertices - neutral vertices, all added.
Only the vertex lines of the files are read, and the faces of the neutral one. Eyes turn about the
centres of their spheres; the jaw moves by shapes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32
from scipy.spatial import Delaunay, QhullError

from flame_assets.arkit import EXPRESSIONS, PAIRS
from flame_assets.errors import UserError
from flame_assets.formats.assembly import (
    GUMS,
    IRIS,
    LIPS,
    SCLERA,
    SKIN,
    TEETH,
    affine_weights,
    pinned_landmarks,
)
from flame_assets.formats.flame_files import float32, int32
from flame_assets.inert.arrays import as_array
from flame_assets.inert.files import ReadError, errors_of, read_regular
from flame_assets.inert.npy import read_npz
from flame_assets.model.head import HeadModel

LICENCE = "MIT, Copyright (c) 2020 USC Institute for Creative Technologies (ICT-FaceKit)"
VERSION = "Light 2020"
NEUTRAL = "generic_neutral_mesh"
IDENTITY_COUNT = 100
OBJ_BYTES = 16 << 20
VERTICES, FACES = 26719, 26384
CM = 0.01

SKIN_VERTICES = slice(0, 11248)
"""Face, head and neck."""
PARTS: Mapping[str, slice] = {
    "face": slice(0, 9409),
    "mouth_inside": slice(11248, 13294),
    "left_eye_socket": slice(13294, 13678),
    "right_eye_socket": slice(13678, 14062),
    "gums_tongue": slice(14062, 17039),
    "upper_teeth": slice(17039, 19247),
    "lower_teeth": slice(19247, 21451),
    "left_eyeball": slice(21451, 23021),
    "right_eyeball": slice(23021, 24591),
}
"""Vertices by part, as the project's README lists them."""
KEPT = 24591
"""Vertices from here on are tear fluid, eye blends and lashes: see-through parts, left out."""
SCLERAS = {3: slice(21451, 22221), 4: slice(23021, 23791)}
"""By eye joint."""
IRISES = (slice(22221, 23021), slice(23791, 24591))
# fmt: off
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088,
    3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140,
    2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216,
    6207, 6470, 5517, 5966,
])
"""The project's vertices of the 68 landmarks, in iBUG's order."""
# fmt: on
SKULL_FROM_EYES = np.array([0.0, -0.030, -0.080])
"""Joint of skull and spine, from the middle between the eyes [m], as in FLAME's mean head."""


class IctArrays(NamedTuple):
    """The model as it is published [cm]."""

    neutral: Float32[np.ndarray, "V 3"]
    faces: Int32[np.ndarray, "P 4"]
    """Vertex ids; triangles end in -1."""
    identity: Float32[np.ndarray, "I V 3"]
    expression: dict[str, Float32[np.ndarray, "V 3"]]
    """By the files' names."""


def expression_files() -> dict[str, tuple[str, ...]]:
    """The files whose shapes add up to each ARKit expression."""
    files: dict[str, tuple[str, ...]] = {}
    for name in EXPRESSIONS:
        base = name.removesuffix("Left").removesuffix("Right")
        if base in PAIRS:
            files[name] = (f"{base}_{'L' if name.endswith('Left') else 'R'}",)
        else:
            both = name in ("browInnerUp", "cheekPuff")
            files[name] = (f"{name}_L", f"{name}_R") if both else (name,)
    return files


def model_files() -> tuple[str, ...]:
    """Names, without suffix, of all files of the model that are read."""
    identity = (f"identity{number:03d}" for number in range(IDENTITY_COUNT))
    expressions = sorted({file for files in expression_files().values() for file in files})
    return (NEUTRAL, *identity, *expressions)


def convert_ict(source: Path, name: str | None = None) -> HeadModel:
    """Convert ICT-FaceKit's folder FaceXModel (OBJ files), or an .npz of its arrays.

    Raises:
        UserError: a file is missing, cannot be read, or is of another topology.
    """
    try:
        arrays = read_npz_arrays(source) if source.is_file() else read_folder(source)
        with errors_of(source):
            return _assemble(arrays, name or "ict")
    except ReadError as error:
        raise UserError(f"{error}; expected ICT-FaceKit's folder FaceXModel") from error


def read_folder(folder: Path) -> IctArrays:
    """The model of a folder of OBJ files.

    Raises:
        UserError: a file is missing.
        ReadError: one cannot be read, or its vertices are not as many as the neutral mesh's.
    """
    names = model_files()
    missing = [name for name in names if not (folder / f"{name}.obj").is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{folder}: lacks {missing[0]}.obj{more} of ICT-FaceKit's {len(names)} files; get them "
            "with `flame-assets get ict`"
        )
    text = read_regular(folder / f"{NEUTRAL}.obj", OBJ_BYTES)
    with errors_of(folder / f"{NEUTRAL}.obj"):
        neutral, faces = parse_vertices(text), _parse_faces(text)
    deltas = {}
    for name in names[1:]:
        path = folder / f"{name}.obj"
        with errors_of(path):
            vertices = parse_vertices(read_regular(path, OBJ_BYTES))
            if len(vertices) != len(neutral):
                raise ReadError(f"has {len(vertices)} vertices, the neutral mesh {len(neutral)}")
            deltas[name] = vertices - neutral
    identity = np.stack([deltas.pop(name) for name in names[1 : 1 + IDENTITY_COUNT]])
    return IctArrays(neutral, faces, identity, deltas)


def read_npz_arrays(path: Path) -> IctArrays:
    """The model of an .npz with neutral, faces, identity and expression (differences) [cm].

    Raises:
        ReadError: it cannot be read, or lacks an array.
    """
    wanted = ("neutral", "faces", "identity", "expression", "expression_names")
    content = read_npz(path, wanted, text=True)
    with errors_of(path):
        if missing := ", ".join(name for name in wanted if name not in content):
            raise ReadError(f"lacks {missing}")
        neutral, identity, shapes = (
            float32(as_array(content[name])) for name in ("neutral", "identity", "expression")
        )
        faces = int32(np.atleast_1d(as_array(content["faces"])) + 1) - 1  # -1: no fourth corner
        names = content["expression_names"]
        if [array.ndim for array in (neutral, faces, identity, shapes)] != [2, 2, 3, 3]:
            raise ReadError("holds arrays of other dimensions than ICT-FaceKit's")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ReadError("holds no list of names as expression_names")
        if len(names) != len(shapes):
            raise ReadError(f"has {len(shapes)} expressions and {len(names)} names")
        if missing := [name for name in model_files()[1 + IDENTITY_COUNT :] if name not in names]:
            raise ReadError(f"lacks the expression {missing[0]}")
        return IctArrays(neutral, faces, identity, dict(zip(names, shapes, strict=True)))


def parse_vertices(text: bytes) -> Float32[np.ndarray, "V 3"]:
    """The vertices of an OBJ file whose `v` lines stand together, as ICT's do."""
    start = 0 if text.startswith(b"v ") else text.find(b"\nv ") + 1
    if start == 0 and not text.startswith(b"v "):
        raise ReadError("holds no vertices")
    end = start
    for kind in (b"\nvt ", b"\nvn ", b"\nf ", b"\nusemtl ", b"\ng ", b"\n#"):
        found = text.find(kind, start)
        end = found if found >= 0 and (end == start or found < end) else end
    block = text[start:] if end == start else text[start:end]
    lines = block.count(b"\nv ") + 1
    numbers = block.replace(b"\nv ", b" ")[2:].split()
    if len(numbers) != 3 * lines:
        raise ReadError("has vertex lines that are not `v x y z`")
    try:
        values = np.array(numbers, dtype="S32").astype(np.float64).reshape(-1, 3)
    except ValueError as error:
        raise ReadError("has vertices that are no numbers") from error
    if not np.isfinite(values).all() or np.abs(values).max() > 1e6:
        raise ReadError("has vertices that are not finite")
    return values.astype(np.float32)


def _parse_faces(text: bytes) -> Int32[np.ndarray, "P 4"]:
    rows = []
    for line in text.splitlines():
        if line.startswith(b"f "):
            try:
                ids = [int(corner.split(b"/", 1)[0]) - 1 for corner in line.split()[1:]]
            except ValueError as error:
                raise ReadError("has a malformed face") from error
            if len(ids) not in (3, 4) or min(ids) < 0 or max(ids) >= VERTICES:
                raise ReadError("has a face that is no triangle or quad of its vertices")
            rows.append([*ids, -1][:4])
    return np.array(rows, np.int32).reshape(-1, 4)


def _assemble(arrays: IctArrays, name: str) -> HeadModel:
    counts = len(arrays.neutral), len(arrays.faces), len(arrays.identity)
    if counts != (VERTICES, FACES, IDENTITY_COUNT):
        raise ReadError(
            f"has {counts[0]} vertices, {counts[1]} faces and {counts[2]} identities, expected "
            f"{VERTICES}, {FACES} and {IDENTITY_COUNT} (ICT-FaceKit Light)"
        )
    shapes = (arrays.neutral, arrays.identity, *arrays.expression.values())
    if not all(np.isfinite(shape).all() and shape.shape[-2:] == (VERTICES, 3) for shape in shapes):
        raise ReadError("holds shapes that are not finite, or of another number of vertices")
    template = (CM * arrays.neutral[:KEPT]).astype(np.float32)
    expression = [
        sum(arrays.expression[file][:KEPT] for file in files)
        for files in expression_files().values()
    ]
    triangles = _triangles(arrays.faces)
    regressor, joints = _joints(template)
    numbers = np.arange(KEPT, dtype=np.int32)
    regions = {name: numbers[part] for name, part in PARTS.items()}
    lips = np.flatnonzero(_lip_mask(template)).astype(np.int32)
    pins, weights = _vertex_landmarks(triangles)
    return HeadModel(
        name=name,
        version=VERSION,
        licence=LICENCE,
        template=template,
        triangles=triangles,
        shape_basis=np.ascontiguousarray(CM * arrays.identity[:, :KEPT].transpose(1, 2, 0)),
        expression_basis=np.stack([np.float32(CM) * shape for shape in expression], -1),
        pose_basis=np.zeros((KEPT, 3, 36), np.float32),
        joint_regressor=regressor,
        skinning_weights=_skinning(template, joints),
        **pinned_landmarks(pins, weights)._asdict(),
        expression_convention="arkit",
        expression_names=EXPRESSIONS,
        expression_bounds=(0.0, 1.0),
        regions=regions | {"lips": lips},
        colours=_colours(lips),
    )


def _triangles(faces: Int32[np.ndarray, "P 4"]) -> Int32[np.ndarray, "F 3"]:
    """Faces among the kept vertices, quads cut along their first diagonal."""
    if faces.min() < -1 or faces.max() >= VERTICES:
        raise ReadError(f"has faces of vertices {faces.min()} to {faces.max()}")
    first, second = faces[:, :3], faces[faces[:, 3] >= 0][:, [0, 2, 3]]
    triangles = np.concatenate([first, second])
    kept = np.ascontiguousarray(triangles[(triangles < KEPT).all(1)].astype(np.int32))
    if missing := sorted(set(LANDMARKS.tolist()) - set(kept.ravel().tolist())):
        raise ReadError(f"has no face at vertex {missing[0]}, a landmark")
    return kept


def _joints(
    template: Float32[np.ndarray, "V 3"],
) -> tuple[Float32[np.ndarray, "5 V"], Float[np.ndarray, "5 3"]]:
    """Regressor and places [m] of the joints: the eyes' centres, the skull's joint, the neck's end.

    Each joint is an affine combination of vertices, so that it follows identity modes as they do.
    """
    regressor = np.zeros((5, len(template)))
    joints = np.zeros((5, 3))
    for joint, part in SCLERAS.items():
        joints[joint] = sphere_centre(template[part])
        regressor[joint, part] = affine_weights(template[part], joints[joint])
    joints[1] = joints[3:].mean(0) + SKULL_FROM_EYES
    skin = template[SKIN_VERTICES]
    joints[0] = skin[skin[:, 1] < skin[:, 1].min() + 0.01].mean(0)
    joints[2] = joints[1]
    for joint in (0, 1, 2):
        regressor[joint, SKIN_VERTICES] = affine_weights(skin, joints[joint])
    return regressor.astype(np.float32), joints


def sphere_centre(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    """Centre of the sphere through points, by linear least squares."""
    points = points.astype(np.float64)
    rows = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    return np.linalg.lstsq(rows, np.square(points).sum(1), rcond=None)[0][:3]


def _skinning(
    template: Float32[np.ndarray, "V 3"], joints: Float[np.ndarray, "5 3"]
) -> Float32[np.ndarray, "V 5"]:
    """The head follows the neck joint, the lower neck fades to the global one; eyes turn alone."""
    bottom, skull = joints[0, 1], joints[1, 1]
    ramp = np.clip((template[:, 1] - bottom) / (skull - bottom), 0, 1)
    weights = np.zeros((len(template), 5))
    weights[:, 1] = ramp * ramp * (3 - 2 * ramp)
    weights[SKIN_VERTICES.stop :, 1] = 1
    for joint, side in ((3, "left"), (4, "right")):
        part = PARTS[f"{side}_eyeball"]
        weights[part] = 0
        weights[part, joint] = 1
    weights[:, 0] = 1 - weights.sum(1)
    return weights.astype(np.float32)


def _vertex_landmarks(
    triangles: Int32[np.ndarray, "F 3"],
) -> tuple[Int32[np.ndarray, " 68"], Float[np.ndarray, "68 3"]]:
    """A triangle at each landmark's vertex, and the weights that choose that corner."""
    ids = np.array([int(np.flatnonzero((triangles == v).any(1))[0]) for v in LANDMARKS])
    return ids.astype(np.int32), (triangles[ids] == LANDMARKS[:, None]).astype(float)


def _lip_mask(template: Float32[np.ndarray, "V 3"]) -> np.ndarray:
    """Face vertices within the outer contour of the lips, seen from the front."""
    outline = template[LANDMARKS[48:60], :2]
    try:
        inside = Delaunay(outline).find_simplex(template[:, :2]) >= 0
    except QhullError as error:
        raise ReadError("has lips whose contour lies on a line") from error
    near = template[:, 2] > template[LANDMARKS[48:68], 2].min() - 0.005
    mask = inside & near
    mask[PARTS["face"].stop :] = False
    return mask


def _colours(lips: Int32[np.ndarray, " n"]) -> Float32[np.ndarray, "V 3"]:
    colours = np.tile(np.array(SKIN, np.float32), (KEPT, 1))
    colours[lips] = LIPS
    colours[PARTS["mouth_inside"]] = colours[PARTS["gums_tongue"]] = GUMS
    for name in ("upper_teeth", "lower_teeth"):
        colours[PARTS[name]] = TEETH
    for name in ("left_eyeball", "right_eyeball"):
        colours[PARTS[name]] = SCLERA
    for part in IRISES:
        colours[part] = IRIS
    return colours
