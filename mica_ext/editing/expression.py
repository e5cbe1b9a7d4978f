"""Edits of a face's expression in ARKit's names, on any head.

Heads of ARKit's convention have the names themselves. On others a weight moves what the carried
shape of that name moves (`conversion.expression_converter`), added to the expression as it is, so
that what ARKit's shapes do not explain of it stays.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import torch
from torch import Tensor

from flame_assets.arkit import EXPRESSIONS, arkit, eye_look_weights
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.conversion.expression_converter import ExpressionConverter
from mica_ext.conversion.motion import ArkitMotion, HeadMotion
from mica_ext.errors import UserError
from mica_ext.shape_transfer.shape_store import arkit_shapes

Weights = dict[str, float]
"""ARKit names to weights in [0, 1]."""
MOVEMENT = ("expression", "jaw_pose", "left_eye_pose", "right_eye_pose")
"""The fields of `HeadParameters` that an expression is made of."""


def parse_weights(texts: Sequence[str]) -> Weights:
    """ARKit weights from texts NAME=VALUE; of a name given twice the last counts.

    Raises:
        UserError: with the nearest names for an unknown one, or the range of a value.
    """
    weights: Weights = {}
    for text in texts:
        name, sign, number = (part.strip() for part in text.partition("="))
        if not sign:
            raise UserError(f"--set {text}: expected NAME=VALUE, such as jawOpen=0.4")
        if name not in EXPRESSIONS:
            known = {known.lower(): known for known in EXPRESSIONS}
            near = get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)
            names = ", ".join(known[one] for one in near) or "jawOpen, mouthSmileLeft, ..."
            raise UserError(f"--set {name}: no such ARKit shape; near it: {names}")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if not 0 <= value <= 1:
            raise UserError(f"--set {text}: expected a weight from 0 to 1")
        weights[name] = value
    return weights


class ExpressionEditor:
    """Reads and writes expressions of one head as ARKit weights; build once.

    Raises:
        UserError: ARKit's shapes cannot be carried to the head, whose landmarks are no face's.
    """

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        self.converter: ExpressionConverter | None = None
        if head.expression_convention != "arkit":
            self.converter = ExpressionConverter(head, arkit_shapes(head).shapes)

    def weights(self, parameters: HeadParameters) -> Weights:
        """The ARKit weights of a face, a batch of one; gaze as the eyes are turned."""
        motion = HeadMotion(*(getattr(parameters, name).double().numpy() for name in MOVEMENT))
        if self.converter is not None:
            row = self.converter.to_arkit(motion)[0].weights[0].tolist()
            return dict(zip(EXPRESSIONS, row, strict=False))  # tongueOut has no shape
        own = dict(zip(self.head.expression_names, motion.expression[0].tolist(), strict=True))
        looks = eye_look_weights(motion.left_eye, motion.right_eye)
        found = {name: own.get(name, 0.0) for name in EXPRESSIONS}
        return found | {name: float(value[0]) for name, value in looks.items()}

    def with_weights(
        self, parameters: HeadParameters, weights: Mapping[str, float]
    ) -> HeadParameters:
        """A face with the expression of these weights and no other; absent ones are 0."""
        row = np.array([[weights.get(name, 0.0) for name in EXPRESSIONS] + [0.0]])
        if self.converter is not None:
            motion = self.converter.to_head(ArkitMotion(row))[0]
            values = (motion.expression, motion.jaw, motion.left_eye, motion.right_eye)
        else:
            pose = arkit(weights, self.head.expression_names)
            values = tuple(value[None] for value in pose)
        rows = (torch.from_numpy(value).float() for value in values)
        return parameters._replace(**dict(zip(MOVEMENT, rows, strict=True)))

    def changed(self, parameters: HeadParameters, changes: Mapping[str, float]) -> HeadParameters:
        """A face with some weights at other values; everything else of its expression stays."""
        if not changes:
            return parameters
        now = self.weights(parameters)
        before = self.with_weights(parameters, now)
        after = self.with_weights(parameters, {**now, **changes})
        moved = {
            name: getattr(parameters, name) + getattr(after, name) - getattr(before, name)
            for name in MOVEMENT
        }
        return parameters._replace(**moved | {"expression": self._bounded(moved["expression"])})

    def scaled(self, parameters: HeadParameters, scale: float) -> HeadParameters:
        """A face whose expression and jaw are `scale` times as far from rest; its gaze stays."""
        expression = parameters.expression * scale
        looks = ["eyeLook" in name for name in self.head.expression_names]
        expression[:, looks] = parameters.expression[:, looks]
        jaw = parameters.jaw_pose * scale
        return parameters._replace(expression=self._bounded(expression), jaw_pose=jaw)

    def _bounded(self, expression: Tensor) -> Tensor:
        bounds = self.head.expression_bounds
        return expression if bounds is None else expression.clamp(*bounds)
