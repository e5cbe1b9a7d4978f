"""ARKit's shapes as morph targets of a person whose head has none by name."""

import logging
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.model.lbs import rotation_matrices
from mica_ext.conversion.expression_converter import ExpressionConverter
from mica_ext.conversion.motion import HeadMotion
from mica_ext.errors import UserError
from mica_ext.export.blendshapes import NamedTargets
from mica_ext.export.gltf.glb import MorphTarget
from mica_ext.shape_transfer.shape_store import NamedShapes, arkit_shapes

LOGGER = logging.getLogger(__name__)


def targets_for_file(
    path: Path, decoder: HeadDecoder, parameters: HeadParameters
) -> NamedTargets | None:
    """Targets that a mesh file needs beside its head's own: those of `arkit_targets`, for a GLB."""
    if path.suffix.lower() != ".glb":
        return None
    return arkit_targets(decoder, parameters, path.name)


def arkit_targets(
    decoder: HeadDecoder, parameters: HeadParameters, file_name: str
) -> NamedTargets | None:
    """ARKit's shapes where the head has no expressions of these names; None where it has.

    None too, with a warning about the file, for a head whose landmarks are not those of a face.
    """
    if decoder.head.expression_convention == "arkit":
        return None
    try:
        return named_targets(decoder, parameters)
    except UserError as error:
        LOGGER.warning("%s has no ARKit shapes: %s", file_name, error)
        return None


@torch.no_grad()
def named_targets(decoder: HeadDecoder, parameters: HeadParameters) -> NamedTargets:
    """The shapes of the person of `parameters`, a batch of one, at the weights of the expression.

    Offsets turn with head and neck.

    Raises:
        UserError: the head's landmarks are not those of a face.
    """
    head = decoder.head
    named, converter = _of_head(head)
    moving = (parameters.expression, *parameters[4:])
    motion = HeadMotion(*(values.double().numpy() for values in moving))
    weights = converter.to_arkit(motion)[0].weights[0].tolist()
    person = HeadParameters.zeros(head)._replace(shape=parameters.shape)
    neutral = decoder(person).vertices[0].numpy()
    offsets = named.shapes.of_person(head.template, neutral)
    root, neck = rotation_matrices(torch.stack(parameters[2:4], 1))[0].numpy()
    follows_root = head.skinning_weights[:, 0, None, None]
    turns = follows_root * root + (1 - follows_root) * (root @ neck)
    turned = np.einsum("vxy,evy->evx", turns, offsets).astype(np.float32)
    rows = zip(named.shapes.names, turned, weights, strict=False)  # tongueOut has no shape
    note = f"ARKit's shapes from {named.source}: {named.licence}"
    return NamedTargets([MorphTarget(*row) for row in rows], note)


@lru_cache(maxsize=2)
def _of_head(head: HeadModel) -> tuple[NamedShapes, ExpressionConverter]:
    named = arkit_shapes(head)
    return named, ExpressionConverter(head, named.shapes)
