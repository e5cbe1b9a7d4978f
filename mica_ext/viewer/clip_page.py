"""The page of a reconstructed video: the person at rest, and what moves over time."""

import numpy as np
import torch

from flame_assets.model.head_module import HeadDecoder
from mica_ext.export.blendshapes import morphs_without_joints
from mica_ext.export.clip_json import SavedClip
from mica_ext.export.surface import surface_of
from mica_ext.render.clay import clay_colours
from mica_ext.render.overlay import face_weights
from mica_ext.viewer.face_page import provenance_notes
from mica_ext.viewer.scene import Animation, Scene


def clip_scene(decoder: HeadDecoder, clip: SavedClip) -> Scene:
    """Targets are the head's own expressions without the turns of jaw and eyes, which are joints'.

    The head turns as in the video and stays in its place.
    """
    head, moved = decoder.head, clip.parameters.head
    rest, targets, skeleton = morphs_without_joints(decoder, moved.shape[:1])
    turns = torch.stack([*moved[2:]], 1).double().numpy()
    vertices = rest.numpy()
    surface = surface_of(head, vertices)._replace(colours=clay_colours(head, vertices))
    return Scene(
        clip.video.name,
        provenance_notes(clip.provenance, clip.quality),
        surface,
        face_weights(head),
        targets,
        skeleton,
        np.zeros((len(skeleton.names), 3)),
        animation=Animation(clip.times_s, moved.expression.double().numpy(), turns),
    )
