"""Pictures of saved faces: over their photo, and under other expressions."""

import numpy as np
import torch
from jaxtyping import UInt8

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.editing.expression import ExpressionEditor
from mica_ext.editing.named_expressions import NAMED_EXPRESSIONS
from mica_ext.editing.sheet import contact_sheet
from mica_ext.export.face_json import SavedFace
from mica_ext.models.pose import in_pose
from mica_ext.render.overlay import (
    OverlayStyle,
    face_weights,
    overlay_picture,
    portrait,
    portrait_width,
)
from mica_ext.render.texture.bake import bake_texture
from mica_ext.render.textured import TexturedMesh
from mica_ext.render.views import portrait_view

FACE_FILL = 0.74
"""Of a sheet's picture: the face, without the rest of the head."""
RgbImage = UInt8[np.ndarray, "H W 3"]


@torch.no_grad()
def texture_of(face: SavedFace, decoder: HeadDecoder, image: RgbImage) -> TexturedMesh:
    """The photo unwrapped into the texture of the head that fits it, before any edit.

    Raises:
        UserError: the head has no texture coordinates.
    """
    posed = decoder(face.parameters.head).vertices[0].numpy()
    return bake_texture(image, decoder.head, face.parameters.camera, posed)


@torch.no_grad()
def overlay_of(
    face: SavedFace,
    decoder: HeadDecoder,
    image: RgbImage,
    style: OverlayStyle,
    texture: TexturedMesh | None,
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo, the face over it as it is in the photo, and three views in the face's pose."""
    head = face.parameters.head
    return overlay_picture(
        image,
        head=decoder.head,
        camera=face.parameters.camera,
        box=np.array(face.box),
        posed_vertices=decoder(head).vertices[0].numpy(),
        vertices=decoder(in_pose(head, face.pose)).vertices[0].numpy(),
        style=style,
        texture=texture,
    )


@torch.no_grad()
def expression_sheet(
    parameters: HeadParameters, decoder: HeadDecoder, texture: TexturedMesh | None, size: int
) -> UInt8[np.ndarray, "height width 3"]:
    """A person under `NAMED_EXPRESSIONS`, labelled; clay without a texture.

    Args:
        parameters: of the person, a batch of one; their own expression and pose do not enter.
        decoder: of the head.
        texture: of the head.
        size: height of each picture [px].
    """
    editor = ExpressionEditor(decoder.head)
    person = in_pose(parameters, "neutral")
    rest = decoder(person).vertices[0].numpy()
    shown = rest[face_weights(decoder.head) > 0.5]
    view = portrait_view(shown, 0.0, size, portrait_width(size), FACE_FILL)
    pictures = []
    for weights in NAMED_EXPRESSIONS.values():
        vertices = decoder(editor.with_weights(person, weights)).vertices[0].numpy()
        pictures.append(portrait(decoder.head, vertices, view, size=size, texture=texture))
    return contact_sheet(pictures, list(NAMED_EXPRESSIONS))
