"""A HeadModel as the folder that `smplx.create(folder, model_type="flame")` loads.

    DIR/flame/FLAME_NEUTRAL.pkl             arrays, padded to FLAME's 300 + 100 modes
    DIR/flame/flame_static_embedding.pkl    51 inner landmarks
    DIR/flame/flame_dynamic_embedding.npy   contour table, rows in smplx's order

smplx looks the contour up by the opposite yaw, so the rows are exchanged: `use_face_contour=True`
then gives our contour for a turned head. It counts the global rotation only, not the neck's.
It orders the landmarks 51 inner, then 17 contour, behind its five joints.

smplx is linear before skinning and has neither lid contacts nor closures (`HeadModel`): there a
closing lid cuts through the globe instead of sliding over it, by `lid_contact_offset`, and a blink
closes the lids of the mean person only. All else, joints and landmarks agree within 2e-6 m.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from flame_assets.errors import UserError
from flame_assets.files import write_folder
from flame_assets.model.head import HeadModel

SHAPE_COUNT, EXPRESSION_COUNT = 300, 100  # what smplx takes a FLAME file to hold


def export_smplx(head: HeadModel, folder: Path) -> Path:
    """Write `head` for smplx into `folder`/flame; that folder must not exist. Returns `folder`."""
    target = folder / "flame"
    if target.exists():
        raise UserError(f"{target} exists; choose another folder or delete it")
    if head.shape_count > SHAPE_COUNT or head.expression_count > EXPRESSION_COUNT:
        raise UserError(
            f"smplx takes at most {SHAPE_COUNT} shape and {EXPRESSION_COUNT} expression modes, "
            f"{head.name} has {head.shape_count} and {head.expression_count}"
        )
    model = {
        "v_template": head.template.astype(np.float64),
        "f": head.triangles.astype(np.uint32),
        "shapedirs": _padded_basis(head),
        "posedirs": head.pose_basis.astype(np.float64),
        "weights": head.skinning_weights.astype(np.float64),
        "J_regressor": head.joint_regressor.astype(np.float64),
        "kintree_table": np.array([head.joint_parents, range(5)], dtype=np.int64) % (1 << 32),
        "J": head.joint_regressor.astype(np.float64) @ head.template,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    inner = {
        "lmk_face_idx": head.landmark_triangles.astype(np.int64),
        "lmk_b_coords": head.landmark_barycentric.astype(np.float64),
    }
    rows = [0, *range(40, 79), *range(1, 40)]  # of yaw 0, then -1.., then +1..
    contour: dict[str, Any] = {
        "lmk_face_idx": head.contour_triangles[rows].astype(np.int64),
        "lmk_b_coords": head.contour_barycentric[rows].astype(np.float64),
    }

    def fill(place: Path) -> None:
        for name, content in (("FLAME_NEUTRAL", model), ("flame_static_embedding", inner)):
            with (place / f"{name}.pkl").open("wb") as file:
                pickle.dump(content, file, protocol=4)
        np.save(place / "flame_dynamic_embedding.npy", np.array(contour, dtype=object))

    write_folder(target, fill)
    return folder


def lid_contact_offset(head: HeadModel) -> float:
    """How far [m] lid contacts move a vertex at most, at mean identity, for any one expression.

    The expressions are taken at a quarter, half, three quarters and all of their weight; 0.0 for a
    head without lid contacts.
    """
    farthest = 0.0
    for contact in head.lid_contacts:
        regressor = head.joint_regressor[contact.joint]
        rays = head.template[contact.vertices] - regressor @ head.template
        basis = head.expression_basis
        motion = basis[contact.vertices] - np.einsum("v,vie->ie", regressor, basis)
        for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
            distance = np.linalg.norm(rays[:, :, None] + weight * motion, axis=1)
            farthest = max(farthest, float((contact.radius[:, None] - distance).max(initial=0.0)))
    return farthest


def _padded_basis(head: HeadModel) -> Float64[np.ndarray, "V 3 400"]:
    padded = np.zeros((head.vertices_count, 3, SHAPE_COUNT + EXPRESSION_COUNT))
    padded[:, :, : head.shape_count] = head.shape_basis
    padded[:, :, SHAPE_COUNT : SHAPE_COUNT + head.expression_count] = head.expression_basis
    return padded
