"""A saved face on another head model: identity, expression and place in the photo."""

from typing import NamedTuple

import torch

from flame_assets.model.fingerprint import fingerprint
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.editing.expression import MOVEMENT, ExpressionEditor
from mica_ext.export.face_json import SavedFace, Source
from mica_ext.fitting.geometry.rotations import matrix_to_axis_angle
from mica_ext.models.types import FaceParameters
from mica_ext.shape_transfer.identity import IdentityTransfer


class CarriedFace(NamedTuple):
    """A face on another head, and how well its skin keeps the person's."""

    face: SavedFace
    distance_mm: float
    """Root mean square distance of the neutral skins, across the surface."""


@torch.no_grad()
def carry_face(face: SavedFace, source: HeadDecoder, target: HeadDecoder) -> CarriedFace:
    """`face`, whose parameters are of the head `source`, on the head `target`.

    The identity is `shape_transfer.identity`'s, the expression goes through ARKit's weights, and
    the head is placed where the source's skin is in the photo; the neck is straight.

    Raises:
        UserError: a head's landmarks are not those of a face.
    """
    transfer = IdentityTransfer(source, target)
    head, camera = face.parameters
    identity = transfer(head.shape[0])
    still = HeadParameters.zeros(target.head)._replace(shape=identity.shape[None])
    weights = ExpressionEditor(source.head).weights(head)
    moving = ExpressionEditor(target.head).with_weights(still, weights)
    there = source(head).vertices[0].double().numpy()
    mesh = target(moving)
    placed = transfer.placement(mesh.vertices[0].double().numpy(), there)
    root = mesh.joints[0, 0].double().numpy()
    rotation = torch.from_numpy(matrix_to_axis_angle(placed.rotation[None])).float()
    shift = torch.from_numpy(placed.translation + placed.rotation @ root - root).float()
    moved = camera._replace(translation=camera.translation + shift)
    own = target.head
    made_with = face.provenance._replace(head=Source(own.name, own.version, own.licence))
    carried = face._replace(
        parameters=FaceParameters(moving._replace(global_pose=rotation), moved),
        provenance=made_with,
        fingerprint=fingerprint(own),
    )
    return CarriedFace(carried, identity.distance_mm)


@torch.no_grad()
def with_expression_of(
    head: HeadParameters, decoder: HeadDecoder, other: SavedFace, other_decoder: HeadDecoder
) -> HeadParameters:
    """A face with the expression, jaw and gaze of another; as they are on the same head."""
    if other_decoder.head is decoder.head:
        return head._replace(**{name: getattr(other.parameters.head, name) for name in MOVEMENT})
    weights = ExpressionEditor(other_decoder.head).weights(other.parameters.head)
    return ExpressionEditor(decoder.head).with_weights(head, weights)
