"""HeadMirror: what a head's coefficients become when its picture is flipped left to right."""

import re
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from flame_assets.model.head import HeadModel
from mica_ext.expression.branch import BranchOutput

VERTEX_STEP = 4
MOST_APART_M = 1e-3
"""Distance of a mirrored vertex from its counterpart above which a template is not symmetric."""
SAME_PLACE_M = 1e-5
LARGEST_REST = 0.05
"""Relative error of mirrored modes above which the other modes do not express them."""
ACROSS = (-1.0, 1.0, 1.0)


class HeadMirror(NamedTuple):
    """Linear maps of coefficients of a head whose two sides are alike."""

    shape: Float[Tensor, "S S"]
    """mirrored = coefficients @ shape"""
    expression: Float[Tensor, "E E"]

    @classmethod
    def of(cls, head: HeadModel) -> "HeadMirror | None":
        """The maps: ARKit's expressions by their names, else least squares on the modes.

        None for a head whose template or modes are not symmetric.
        """
        found = KDTree(head.template).query(head.template[::VERTEX_STEP] * ACROSS, k=2)
        apart, twins = (np.asarray(column) for column in found)
        if np.quantile(apart[:, 0], 0.99) > MOST_APART_M:
            return None
        sure = apart[:, 1] - apart[:, 0] > SAME_PLACE_M  # closed lips share places
        kept, twins = VERTEX_STEP * np.flatnonzero(sure), twins[sure, 0]
        shape = _mode_map(head.shape_basis, kept, twins)
        if head.expression_convention == "arkit":
            expression = _name_map(head.expression_names)
        else:
            expression = _mode_map(head.expression_basis, kept, twins)
        return None if shape is None or expression is None else cls(shape, expression)

    def movement(self, given: BranchOutput) -> BranchOutput:
        """The movements of the mirrored heads, in the mirrored crops."""
        turn = torch.tensor([1.0, -1.0, -1.0])  # a rotation vector in a mirror
        aside = torch.tensor([1.0, -1.0, 1.0])  # log scale, x, y
        return BranchOutput(
            expression=given.expression @ self.expression,
            jaw_pose=given.jaw_pose * turn,
            left_eye_pose=given.right_eye_pose * turn,
            right_eye_pose=given.left_eye_pose * turn,
            crop_pose=given.crop_pose * turn,
            crop_camera=given.crop_camera * aside,
            shape=given.shape @ self.shape if given.shape.shape[1] else given.shape,
        )


def _name_map(names: tuple[str, ...]) -> Float[Tensor, "n n"]:
    """Left for right; by names, for opposite modes as mouthLeft and mouthRight leave a choice."""
    other = {"Left": "Right", "Right": "Left"}
    found = torch.zeros(len(names), len(names))
    for row, name in enumerate(names):
        twin = re.sub("Left|Right", lambda side: other[side[0]], name)
        found[row, names.index(twin)] = 1.0
    return found


def _mode_map(
    basis: Float[np.ndarray, "V 3 n"], kept: np.ndarray, twins: np.ndarray
) -> Float[Tensor, "n n"] | None:
    """The map of coefficients, if the modes' mirror images are mixtures of modes."""
    count = basis.shape[2]
    own = basis[kept].reshape(-1, count).astype(np.float64)
    mirrored = (basis[twins] * np.array(ACROSS)[:, None]).reshape(-1, count)
    found = np.linalg.lstsq(own, mirrored, rcond=None)[0]
    rest = np.linalg.norm(own @ found - mirrored) / max(float(np.linalg.norm(mirrored)), 1e-12)
    return torch.from_numpy(found.T.astype(np.float32)) if rest < LARGEST_REST else None
