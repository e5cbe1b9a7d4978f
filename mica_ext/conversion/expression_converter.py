"""A head's expression coefficients and jaw from ARKit's weights, and back, by least squares.

Both sides are displacements of the face's skin [mm], each vertex weighted by its area, on the mean
person: sum of weight x carried shape against what expression, jaw and their correctives move.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from flame_assets.arkit import EXPRESSIONS, arkit, eye_look_weights
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.conversion.bounded_least_squares import solve_bounded
from mica_ext.conversion.motion import ARKIT_NAMES, ArkitMotion, HeadMotion
from mica_ext.shape_transfer.arkit_shapes import ArkitShapes

MIN_MOVE_MM = 0.3
"""Vertices that no shape moves as far are left out."""
MAX_VERTICES = 1500
"""Vertices of finer meshes are thinned out to as many."""
NOT_SKIN = ("eyeball", "teeth", "tongue", "mouth_inside", "mouth_sock", "eye_socket")
WEIGHT_COST = 2e-3
"""Of each unit of an ARKit weight [mm^2]: shapes that explain nothing stay at zero."""
WEIGHT_RIDGE = 1e-3
"""Of each squared weight [mm^2]."""
COEFFICIENT_RIDGE = 1e-3
"""Of each squared coefficient, a unit normal [mm^2]."""
JAW_SIGMA = 0.3
"""[rad]"""
STEPS = 5
"""Of Gauss-Newton over the jaw."""
JAW_STEP = 1e-3
"""Of the difference quotient [rad]."""
BATCH = 64
BLINKS = [EXPRESSIONS.index(f"eyeBlink{side}") for side in ("Left", "Right")]


class Residual(NamedTuple):
    """What a conversion leaves over, root mean square over the face's skin, by frame [mm]."""

    moved: Float64[np.ndarray, " N"]
    """How far the frame moves the skin at all."""
    left: Float64[np.ndarray, " N"]
    """Of the difference."""


class ExpressionConverter:
    """Converts frames of one head; build once."""

    def __init__(self, head: HeadModel, shapes: ArkitShapes) -> None:
        """`shapes` are the head's own or carried ones."""
        moves = np.linalg.norm(shapes.offsets, axis=2).max(0) > MIN_MOVE_MM / 1000
        for name, ids in head.regions.items():
            if any(part in name for part in NOT_SKIN):
                moves[ids] = False
        corners = head.template[head.triangles].astype(float)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normals, axis=1)
        mass = np.bincount(head.triangles.ravel(), np.repeat(area, 3), head.vertices_count) * moves
        held = np.flatnonzero(moves)
        held = held[:: -(-len(held) // MAX_VERTICES)]
        kept = np.zeros(head.vertices_count)
        kept[held] = 1
        mass *= kept
        self.head = head
        rows = np.concatenate([head.landmark_triangles, head.static_contour_triangles])
        rows = np.concatenate([rows, head.contour_triangles.ravel()])
        ids = np.union1d(held, head.triangles[rows].ravel())
        self.decoder = HeadDecoder(head, vertices=ids)
        self.scale = 1000 * np.sqrt(mass[ids] / mass.sum())[:, None]
        """To weighted millimetres."""
        self.rest = self._vertices(HeadMotion(*(np.zeros((1, n)) for n in (self.width, 3, 3, 3))))
        self.shapes = self._weighted(shapes.offsets[:, ids].astype(float))
        self.gram = self.shapes @ self.shapes.T
        self.modes = self._weighted(head.expression_basis[ids].transpose(2, 0, 1).astype(float))
        self.looks_at = [k for k, name in enumerate(EXPRESSIONS) if "eyeLook" in name]

    @property
    def width(self) -> int:
        """Expression coefficients of the head."""
        return self.head.expression_count

    def to_arkit(self, motion: HeadMotion) -> tuple[ArkitMotion, Residual]:
        """Weights of ARKit's shapes; the eyeLook weights are the eyes' rotations.

        Eyelid coefficients are added to the blinks that the expression itself makes.
        """
        gaze = eye_look_weights(motion.left_eye, motion.right_eye)
        weights = np.zeros((len(motion.jaw), len(ARKIT_NAMES)))
        for name, values in gaze.items():
            weights[:, EXPRESSIONS.index(name)] = values
        free = [k for k in range(len(EXPRESSIONS)) if k not in self.looks_at]
        moved = self._displacements(motion)
        rest = moved - weights[:, self.looks_at] @ self.shapes[self.looks_at]
        gram = self.gram[np.ix_(free, free)] + WEIGHT_RIDGE * np.eye(len(free))
        weights[:, free] = solve_bounded(gram, rest @ self.shapes[free].T - WEIGHT_COST / 2)
        left = rest - weights[:, free] @ self.shapes[free]
        if motion.eyelids is not None:
            weights[:, BLINKS] = (weights[:, BLINKS] + motion.eyelids).clip(0, 1)
        return ArkitMotion(weights), Residual(_norm(moved), _norm(left))

    def to_head(self, motion: ArkitMotion, *, eyelids: bool = False) -> tuple[HeadMotion, Residual]:
        """The most probable coefficients, unit normal, and jaw rotation.

        With `eyelids` blinks become eyelid coefficients and stay out of the expression.
        """
        weights = motion.weights[:, : len(EXPRESSIONS)].copy()
        eyes = [arkit(dict(zip(EXPRESSIONS, row, strict=True))) for row in weights]
        left_eye, right_eye = (
            np.array([getattr(pose, name) for pose in eyes], float).reshape(-1, 3)
            for name in ("left_eye_pose", "right_eye_pose")
        )
        lids = weights[:, BLINKS] if eyelids else None
        if eyelids:
            weights[:, BLINKS] = 0
        wanted = weights @ self.shapes
        count = len(weights)
        found = HeadMotion(
            np.zeros((count, self.width)), np.zeros((count, 3)), left_eye, right_eye, lids
        )
        for start in range(0, count, BATCH):
            rows = slice(start, start + BATCH)
            found.expression[rows], found.jaw[rows] = self._fit(wanted[rows])
        left = wanted - self._displacements(found)
        return found, Residual(_norm(wanted), _norm(left))

    def _fit(
        self, wanted: Float64[np.ndarray, "B D"]
    ) -> tuple[Float64[np.ndarray, "B E"], Float64[np.ndarray, "B 3"]]:
        """Gauss-Newton over expression and jaw of frames that displace the skin so."""
        count, width = len(wanted), self.width
        found = np.zeros((count, width + 3))
        ridge = np.full(width + 3, COEFFICIENT_RIDGE)
        ridge[width:] /= JAW_SIGMA**2
        H = np.zeros((count, width + 3, width + 3))
        H[:, :width, :width] = self.modes @ self.modes.T
        for _ in range(STEPS):
            now = self._posed(found)
            jaw = np.zeros((count, 3, wanted.shape[1]))
            for axis in range(3):
                step = found.copy()
                step[:, width + axis] += JAW_STEP
                jaw[:, axis] = (self._posed(step) - now) / JAW_STEP
            H[:, width:, :width] = jaw @ self.modes.T
            H[:, :width, width:] = H[:, width:, :width].transpose(0, 2, 1)
            H[:, width:, width:] = jaw @ jaw.transpose(0, 2, 1)
            left = wanted - now
            g = np.concatenate([left @ self.modes.T, (jaw @ left[..., None])[..., 0]], 1)
            found += np.linalg.solve(H + np.diag(ridge), (g - ridge * found)[..., None])[..., 0]
        return found[:, :width], found[:, width:]

    def _posed(self, coefficients: Float64[np.ndarray, "B M"]) -> Float64[np.ndarray, "B D"]:
        still = np.zeros((len(coefficients), 3))
        expression, jaw = np.split(coefficients, [self.width], 1)
        return self._displacements(HeadMotion(expression, jaw, still, still))

    def _displacements(self, motion: HeadMotion) -> Float64[np.ndarray, "N D"]:
        """Of the skin, weighted [mm]."""
        frames = [
            self._vertices(HeadMotion(*(part[start : start + BATCH] for part in motion[:4])))
            for start in range(0, len(motion.jaw), BATCH)
        ]
        return self._weighted(np.concatenate(frames) - self.rest)

    @torch.no_grad()
    def _vertices(self, motion: HeadMotion) -> Float64[np.ndarray, "N n 3"]:
        """Eyes stay: their rotations move no skin."""
        still = HeadParameters.zeros(self.head, len(motion.jaw))
        parameters = still._replace(
            expression=torch.from_numpy(motion.expression).float(),
            jaw_pose=torch.from_numpy(motion.jaw).float(),
        )
        return self.decoder(parameters).vertices.double().numpy()

    def _weighted(self, offsets: Float64[np.ndarray, "N n 3"]) -> Float64[np.ndarray, "N D"]:
        return (offsets * self.scale).reshape(len(offsets), -1)


def _norm(rows: Float64[np.ndarray, "N D"]) -> Float64[np.ndarray, " N"]:
    return np.linalg.norm(rows, axis=1)
