"""Lips of a fitted head meet where the photo's do, and never pass through each other.

Inner lips are 1 to 2 mm apart in most networks' points of closed mouths, which a fit explains by an
open jaw; people see that at once. Whether lips are closed is decided first, from the points.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from flame_assets.model.head_module import HeadDecoder
from mica_ext.fitting.correspondence.anchors import PointAnchors
from mica_ext.fitting.points.basis import PointBasis
from mica_ext.fitting.points.model import FitState, PointModel

UPPER_POINTS, LOWER_POINTS = (82, 13, 312), (87, 14, 317)
"""Face Mesh's points on the inner edges of the lips, from the right of the face's middle."""
FOREHEAD, CHIN = 10, 152
UPPER_LANDMARKS, LOWER_LANDMARKS = (61, 62, 63), (67, 66, 65)
"""The same spots among iBUG's landmarks."""
ATTEMPTS = 6
"""Steps in which lips are brought together; the first half moves expressions that are on."""
PARTING = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthLowerDown", "mouthUpperUp", "mouthPress"),
)
"""ARKit's expressions, without their sides, that part or close lips: smiles stay as they are."""
TOLERANCE = 1e-4
"""Of the distance of lips that meet [m]."""


def lip_gaps(
    points: Float[np.ndarray, "B 478 2"], unit: Float[np.ndarray, " B"]
) -> Float64[np.ndarray, " B"]:
    """Mean distance of the inner lips along the face, over `unit`, in the points' length."""
    down = points[:, CHIN] - points[:, FOREHEAD]
    down = down / np.linalg.norm(down, axis=1, keepdims=True)
    apart = (points[:, LOWER_POINTS] - points[:, UPPER_POINTS]).mean(1)
    return (apart * down).sum(1) / unit


class LipSeam(NamedTuple):
    """The inner edges of a head's lips."""

    model: PointModel
    """Of three landmarks of the upper lip, then three of the lower one."""
    at_rest: Float64[np.ndarray, "3"]
    """How far the lips of the neutral head are apart [m]."""
    parting: Bool[np.ndarray, " C"]
    """Which of jaw, shape and expression are changed to bring lips together."""

    @classmethod
    def of_head(cls, decoder: HeadDecoder, shape_axes: Float64[np.ndarray, "S R"]) -> "LipSeam":
        """The seam as a function of the coefficients along `shape_axes` and of all others."""
        head = decoder.head
        rows = np.array([*UPPER_LANDMARKS, *LOWER_LANDMARKS]) - 17  # after the contour
        none = np.zeros((len(rows), 3))
        anchors = PointAnchors(
            head.landmark_triangles[rows].astype(np.int64),
            head.landmark_barycentric[rows].astype(np.float64),
            none,
            none,
        )
        basis = PointBasis.from_head(decoder, anchors, shape_axes=shape_axes)
        model = PointModel.from_basis(basis, head)
        heights = model.neutral_points()[:, 1]
        names = [name.removesuffix("Left").removesuffix("Right") for name in head.expression_names]
        parting = np.ones(head.expression_count, bool)
        if head.expression_convention == "arkit":
            parting = np.isin(names, PARTING)
        parting = np.concatenate([np.ones(3, bool), np.zeros(model.axes_count, bool), parting])
        return cls(model, (heights[:3] - heights[3:]).clip(0), parting)

    def gaps(
        self, state: FitState
    ) -> tuple[Float64[np.ndarray, "B 3"], Float64[np.ndarray, "B 3 C"]]:
        """Upper above lower lip, beyond `at_rest` [m], and the derivatives by what is `parting`.

        The others' are zero: lips are not closed by another smile or face.
        """
        heights, jacobian = self.model.heights(state)
        jacobian = (jacobian[:, :3] - jacobian[:, 3:]) * self.parting
        return heights[:, :3] - heights[:, 3:] - self.at_rest, jacobian

    def brought_together(
        self,
        state: FitState,
        closed: Bool[np.ndarray, " B"],
        lower: Float64[np.ndarray, " M"],
        upper: Float64[np.ndarray, "*#B M"],
    ) -> FitState:
        """The state with lips that meet where `closed`, and nowhere pass through each other.

        Changes the expressions that are on, the jaw among them, as little as that takes within
        their bounds; the others too where those do not suffice.
        """
        end = len(self.parting)
        for attempt in range(ATTEMPTS):
            gaps, jacobian = self.gaps(state)
            wrong = np.where(closed[:, None] | (gaps < 0), gaps, 0.0)
            if np.abs(wrong).max(initial=0.0) < TOLERANCE:
                break
            coefficients = state.coefficients
            current = coefficients[:, :end]
            free = (current > lower[:end]) | (attempt >= ATTEMPTS // 2)
            rows = jacobian * free[:, None]
            system = rows @ rows.transpose(0, 2, 1) + TOLERANCE**2 * np.eye(3)
            change = -(rows.transpose(0, 2, 1) @ np.linalg.solve(system, wrong[..., None]))[..., 0]
            coefficients[:, :end] = np.clip(current + change, lower[:end], upper[..., :end])
            state = self.model.split(state.pose, coefficients)
        return state
