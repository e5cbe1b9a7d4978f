"""The page of one reconstructed face."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from flame_assets.model.head_module import HeadDecoder
from mica_ext.export.blendshapes import NamedTargets, morphs
from mica_ext.export.face_json import Provenance
from mica_ext.export.surface import surface_of
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.quality import Quality
from mica_ext.models.types import FaceParameters
from mica_ext.render.clay import clay_colours
from mica_ext.render.overlay import face_weights
from mica_ext.render.textured import TexturedMesh
from mica_ext.viewer.page import page_bytes
from mica_ext.viewer.scene import Animation, PhotoView, Scene, scene_json

PHOTO_FACES = 2.6
"""Side of the shown part of the photo, in sides of the face's box."""
PHOTO_PX = 1100
"""Longest side of the shown photo."""


def face_scene(
    decoder: HeadDecoder,
    parameters: FaceParameters,
    *,
    title: str,
    pose: Pose = "expressive",
    notes: Sequence[str] = (),
    named: NamedTargets | None = None,
    texture: TexturedMesh | None = None,
    photo: PhotoView | None = None,
    animation: Animation | None = None,
) -> Scene:
    """A face at rest with its expressions as targets, shown in `pose`.

    Args:
        decoder: of the head.
        parameters: of the face, a batch of one.
        title: of the page.
        pose: that the page starts with; its targets and joints reach the others.
        notes: lines about what made the face.
        named: targets in place of the head's own expressions.
        texture: of the head.
        photo: of `photo_view`.
        animation: of the targets that `morphs` makes of the same arguments.
    """
    head = decoder.head
    straight = in_pose(parameters.head, "expressive")
    rest, targets, skeleton = morphs(decoder, straight, named)
    if pose == "neutral":
        targets = [target._replace(weight=0.0) for target in targets]
    vertices = rest.numpy()
    surface = surface_of(head, vertices, None if texture is None else texture.picture)
    rotations = np.zeros((len(skeleton.names), 3))
    if pose == "posed":
        rotations = joint_rotations(parameters)
    return Scene(
        title,
        notes,
        surface._replace(colours=clay_colours(head, vertices)),
        face_weights(head),
        targets,
        skeleton,
        rotations,
        photo,
        animation,
        None if texture is None else texture.photo_light,
    )


def face_page(scene: Scene) -> bytes:
    """The HTML file."""
    return page_bytes(
        scene_json(scene),
        title=scene.title,
        markup="viewer.html",
        styles=("page.css", "viewer.css"),
        script="viewer.js",
    )


def provenance_notes(made_with: Provenance, quality: Quality | None) -> list[str]:
    """Lines about what made a face, and what to look at before using it."""
    sources = {
        "head": made_with.head,
        "points": made_with.weights,
        "identity": made_with.identity,
        "expression": made_with.expression,
    }
    notes = [
        f"{key}: {source.name} {source.version} ({source.licence})"
        for key, source in sources.items()
        if source is not None
    ]
    if quality is not None and quality.reasons:
        notes.append(f"look at it first: {'; '.join(quality.reasons)}")
    return notes


def joint_rotations(parameters: FaceParameters) -> Float[np.ndarray, "5 3"]:
    """Axis-angle [rad] of head and neck; those of jaw and eyes are in the targets."""
    head = parameters.head
    rotations = torch.zeros(5, 3, dtype=torch.float64)
    rotations[0], rotations[1] = head.global_pose[0], head.neck_pose[0]
    return rotations.numpy()


def photo_view(
    image: UInt8[np.ndarray, "H W 3"],
    parameters: FaceParameters,
    box: tuple[float, float, float, float],
) -> PhotoView:
    """The photo around the face's box [px], at most `PHOTO_PX` wide and high, with its camera."""
    x0, y0, x1, y1 = box
    half = PHOTO_FACES * max(x1 - x0, y1 - y0) / 2
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    left, right = max(0, int(centre_x - half)), min(image.shape[1], int(centre_x + half) + 1)
    top, bottom = max(0, int(centre_y - half)), min(image.shape[0], int(centre_y + half) + 1)
    part = image[top:bottom, left:right]
    scale = min(1.0, PHOTO_PX / max(part.shape[:2]))
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    camera = parameters.camera
    u, v = camera.centre_px[0].tolist()
    x, y, z = camera.translation[0].tolist()
    return PhotoView(
        cv2.resize(part, size, interpolation=cv2.INTER_AREA),
        float(camera.focal_px[0]) * scale,
        ((u - left + 0.5) * scale - 0.5, (v - top + 0.5) * scale - 0.5),
        (x, y, z),
        joint_rotations(parameters),
    )
