"""Anthro in FLAME's language: principal components of its own expressions, a jaw that is posed."""

import dataclasses

import numpy as np
from helpers.heads_from_ict import principal_components

from flame_assets.model.head import HeadModel

MODES = 50


def flame_like(head: HeadModel, name: str = "flame-like") -> HeadModel:
    """`head`, of ARKit's convention, with unnamed unit normal modes that span the same faces."""
    shapes = head.expression_basis.transpose(2, 0, 1).astype(float)
    modes = principal_components(shapes, head.expression_names, MODES)
    return dataclasses.replace(
        head,
        name=name,
        expression_convention="flame",
        expression_names=tuple(f"expression_{index:03d}" for index in range(MODES)),
        expression_bounds=None,
        expression_basis=np.ascontiguousarray(modes.transpose(1, 2, 0)),
        lid_closures=(),
        lid_contacts=(),
    )
