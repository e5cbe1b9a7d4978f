"""ARKit's 51 shapes for any head, carried from a head that has them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64

from flame_assets.arkit import EXPRESSIONS, arkit
from flame_assets.model.head import EYE_JOINTS
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.model.lbs import rotation_matrices
from mica_ext.shape_transfer.contacts import Contacts, slide_on_globes
from mica_ext.shape_transfer.deformation import DeformationTransfer
from mica_ext.shape_transfer.face_surface import LEFT_LIDS, RIGHT_LIDS, FaceSurface
from mica_ext.shape_transfer.surface_map import map_surfaces

BATCH = 8
"""Shapes decoded at a time."""


class LidCorrection(NamedTuple):
    """How a blink of the mean person is corrected for lids of another's height."""

    row: int
    """Of the blink among the shapes."""
    gaps: Float32[np.ndarray, "pairs V"]
    """Weights of the vertices in the gap of each pair of spots on the lids' edges."""
    influence: Float32[np.ndarray, "pairs V"]
    """How each vertex follows the upper spot of each pair."""


class ArkitShapes(NamedTuple):
    """Named shapes of one head at weight 1: skin, teeth, tongue and eyeballs together."""

    names: tuple[str, ...]
    offsets: Float32[np.ndarray, "E V 3"]
    """From the neutral mean head [m]."""
    lids: tuple[LidCorrection, ...]

    def of_person(
        self, template: Float32[np.ndarray, "V 3"], neutral: Float32[np.ndarray, "V 3"]
    ) -> Float32[np.ndarray, "E V 3"]:
        """Offsets [m] of a person, `neutral`, of the head `template`: blinks close their lids."""
        offsets = self.offsets.copy()
        for row, gaps, influence in self.lids:
            offsets[row] -= influence.T @ (gaps @ (neutral - template))
        return offsets


def carry_arkit_shapes(
    source: HeadDecoder, target: HeadDecoder, advance: Callable[[int], None] = lambda count: None
) -> ArkitShapes:
    """The shapes of `source`, of the convention "arkit", on `target`.

    `advance` is called with the number of shapes done since the last call.

    Skin, teeth and tongue by deformation transfer, lids and lips closing as the source's; eyeballs
    turn about the target's own eye joints. Jaw rotations are part of the shapes.

    Raises:
        UserError: the heads' landmarks are not those of faces.
    """
    other, own = FaceSurface.of_head(target), FaceSurface.of_head(source)
    moved = own.vertices + own_arkit_offsets(source).astype(np.float64)
    carried = carry_shapes(own, other, moved, advance)
    offsets = carried.offsets + _eyeball_offsets(target, carried.rotation)
    rows = {LEFT_LIDS: "eyeBlinkLeft", RIGHT_LIDS: "eyeBlinkRight"}
    lids = [
        LidCorrection(EXPRESSIONS.index(name), *carried.contacts.corrections(label))
        for label, name in rows.items()
        if label in carried.contacts.closures
    ]
    return ArkitShapes(EXPRESSIONS, offsets.astype(np.float32), tuple(lids))


class CarriedShapes(NamedTuple):
    """Shapes on a target, and what carried them."""

    offsets: Float64[np.ndarray, "E V 3"]
    """[m]; zero on eyeballs."""
    rotation: Float64[np.ndarray, "3 3"]
    """From the source's frame to the target's."""
    contacts: Contacts


def carry_shapes(
    source: FaceSurface,
    target: FaceSurface,
    moved: Float64[np.ndarray, "E Vs 3"],
    advance: Callable[[int], None] = lambda count: None,
) -> CarriedShapes:
    """The deformed shapes `moved` of `source` [m] on `target`."""
    transfer = DeformationTransfer(source, target, map_surfaces(source, target))
    contacts = Contacts(transfer)
    offsets = np.zeros((len(moved), len(target.vertices), 3))
    for start in range(0, len(moved), BATCH):
        part = moved[start : start + BATCH]
        carried = contacts(transfer(part), part)
        offsets[start : start + BATCH] = slide_on_globes(transfer, carried, part)
        advance(len(part))
    return CarriedShapes(offsets, transfer.map.similarity.rotation, contacts)


@torch.no_grad()
def own_arkit_offsets(decoder: HeadDecoder) -> Float32[np.ndarray, "E V 3"]:
    """A head's own shapes of `EXPRESSIONS`, with jaw and gaze, from the neutral mean head [m]."""
    head = decoder.head
    neutral = HeadParameters.zeros(head)
    rest = decoder(neutral).vertices[0]
    offsets = np.zeros((len(EXPRESSIONS), head.vertices_count, 3), np.float32)
    for start in range(0, len(EXPRESSIONS), BATCH):
        names = EXPRESSIONS[start : start + BATCH]
        poses = [arkit({name: 1.0}, head.expression_names) for name in names]
        rows = [torch.from_numpy(np.stack(values)) for values in zip(*poses, strict=True)]
        still = HeadParameters.zeros(head, len(poses))
        parameters = still._replace(
            expression=rows[0], jaw_pose=rows[1], left_eye_pose=rows[2], right_eye_pose=rows[3]
        )
        offsets[start : start + len(poses)] = (decoder(parameters).vertices - rest).numpy()
    return offsets


def _eyeball_offsets(
    decoder: HeadDecoder, rotation: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "E V 3"]:
    """Of the vertices that follow the eye joints, for each of `EXPRESSIONS` [m].

    `rotation` is from the frame of ARKit's gaze angles to the head's.
    """
    head = decoder.head
    offsets = np.zeros((len(EXPRESSIONS), head.vertices_count, 3))
    joints = decoder.joints_template.double().numpy()
    for row, name in enumerate(EXPRESSIONS):
        pose = arkit({name: 1.0})
        for joint, gaze in zip(EYE_JOINTS, pose[2:], strict=True):
            if gaze.any():
                turn = rotation_matrices(torch.from_numpy(rotation @ gaze)).numpy() - np.eye(3)
                arms = head.template - joints[joint]
                offsets[row] += head.skinning_weights[:, joint, None] * (arms @ turn.T)
    return offsets
