"""FLAME coefficients as public trackers write them: .npz, .json, or a folder of one file a frame.

Names are those of MICA's tracker, DECA, EMOCA, SMIRK, VHAP, GaussianAvatars and smplx, and of
`reconstruct --params`. Rotations are axis-angle (3 numbers), the first two rows of a matrix (6;
Zhou et al. 2019, as PyTorch3D writes them) or a matrix (9).
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from mica_ext.conversion.fields import Fields, numbers, read_fields, write_npz
from mica_ext.conversion.motion import HeadMotion
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic

EXPRESSION = (
    *("expr", "exp", "expression", "expressions", "expression_params", "expr_params", "exp_params"),
    *("expression_code", "expcode", "exp_code", "flame_expr"),
)
JAW = ("jaw_pose", "jaw", "jaw_params", "jawpose")
HEAD_AND_JAW = ("pose",)
"""DECA's and EMOCA's six numbers: the head's rotation, then the jaw's."""
EYES = ("eyes_pose", "eyes", "eye_pose")
"""Left, then right."""
LEFT_EYE, RIGHT_EYE = (
    (f"{side}_eye_pose", f"{side[0]}eye_pose", f"{side}_eye", f"{side[0]}eye")
    for side in ("left", "right")
)
EYELIDS = ("eyelids", "eyelid_params", "eyelid")
SUFFIXES = (".npz", ".json")
MAX_FILES = 100_000


def read_folder(folder: Path) -> Fields:
    """The fields of a folder with one file a frame, in the order of their names.

    Raises:
        UserError: there is none, they hold different names, or one cannot be read.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not 0 < len(files) <= MAX_FILES:
        raise UserError(
            f"{folder}: expected 1 to {MAX_FILES} .npz or .json files, got {len(files)}"
        )
    names = {name for group in (EXPRESSION, JAW, HEAD_AND_JAW, EYES, LEFT_EYE, RIGHT_EYE, EYELIDS)
             for name in group}  # fmt: skip
    rows: dict[str, list[np.ndarray]] = {}
    for number, path in enumerate(files):
        fields = read_fields(path)
        for name in names & fields.keys():
            row = numbers(fields, (name,), path)
            if row is not None and len(row) == 1 and len(rows.setdefault(name, [])) == number:
                rows[name].append(row)
    whole = {name: list_ for name, list_ in rows.items() if len(list_) == len(files)}
    widths = {name: {row.shape[1] for row in list_} for name, list_ in whole.items()}
    if uneven := [name for name, found in widths.items() if len(found) > 1]:
        raise UserError(f"{folder}: expected files of one width, {uneven[0]} has several")
    return {name: np.concatenate(list_) for name, list_ in whole.items()}


def head_motion(fields: Fields, width: int, path: Path) -> HeadMotion | None:
    """The coefficients among `fields`; None without an expression.

    Missing coefficients up to `width` and missing rotations are zero.

    Raises:
        UserError: numbers of frames differ, or a width is none that is known.
    """
    expression = numbers(fields, EXPRESSION, path)
    if expression is None:
        return None
    if expression.shape[1] > width:
        raise UserError(
            f"{path}: holds {expression.shape[1]} expression coefficients, the head has {width}; "
            "choose the head they belong to with --head"
        )
    jaw, eyes = numbers(fields, JAW, path), numbers(fields, EYES, path)
    pose = numbers(fields, HEAD_AND_JAW, path)
    if jaw is None and pose is not None and pose.shape[1] == 6:
        jaw = pose[:, 3:]
    left, right = numbers(fields, LEFT_EYE, path), numbers(fields, RIGHT_EYE, path)
    if eyes is not None:
        if eyes.shape[1] not in (6, 12, 18):
            raise UserError(
                f"{path}: expected 6 numbers a frame for both eyes, got {eyes.shape[1]}"
            )
        left, right = np.split(eyes, 2, axis=1)
    eyelids = numbers(fields, EYELIDS, path)
    if eyelids is not None and eyelids.shape[1] != 2:
        raise UserError(f"{path}: expected 2 eyelid numbers a frame, got {eyelids.shape[1]}")
    parts = [jaw, left, right]
    count = max(len(part) for part in (expression, *parts, eyelids) if part is not None)
    jaws, lefts, rights = (
        np.zeros((count, 3)) if part is None else _frames(_axis_angles(part, path), count, path)
        for part in parts
    )
    padded = np.pad(expression, ((0, 0), (0, width - expression.shape[1])))
    lids = None if eyelids is None else _frames(eyelids, count, path).clip(0, 1)
    return HeadMotion(_frames(padded, count, path), jaws, lefts, rights, lids)


def write_head_motion(path: Path, motion: HeadMotion, head: str) -> None:
    """Write .npz or .json, by the suffix.

    Raises:
        UserError: it cannot be written, or the suffix is another.
    """
    arrays = {
        "expr": motion.expression,
        "jaw_pose": motion.jaw,
        "eyes_pose": np.concatenate([motion.left_eye, motion.right_eye], 1),
    }
    if motion.eyelids is not None:
        arrays["eyelids"] = motion.eyelids
    if path.suffix.lower() == ".npz":
        write_npz(path, {name: array.astype(np.float32) for name, array in arrays.items()})
        return
    content = {"head": head, "units": "standard deviations; rad (axis-angle)"}
    rows = {name: array.round(6).tolist() for name, array in arrays.items()}
    write_bytes_atomic(path, (json.dumps(content | rows) + "\n").encode())


def _axis_angles(rows: Float64[np.ndarray, "N D"], path: Path) -> Float64[np.ndarray, "N 3"]:
    width = rows.shape[1]
    if width == 3:
        return rows
    if width not in (6, 9):
        raise UserError(f"{path}: expected rotations of 3, 6 or 9 numbers, got {width}")
    first, second = rows[:, :3], rows[:, 3:6]
    first = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = second - (first * second).sum(1, keepdims=True) * first
    second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-9)
    matrices = np.stack([first, second, np.cross(first, second)], 1)
    if not np.allclose(np.linalg.det(matrices), 1, atol=1e-3):
        raise UserError(f"{path}: expected rotations, got numbers that are none")
    return Rotation.from_matrix(matrices).as_rotvec()


def _frames(rows: Float64[np.ndarray, "M D"], count: int, path: Path) -> Float64[np.ndarray, "N D"]:
    if len(rows) not in (1, count):
        raise UserError(f"{path}: holds {count} frames of one kind and {len(rows)} of another")
    return np.repeat(rows, count, axis=0) if len(rows) == 1 else rows
