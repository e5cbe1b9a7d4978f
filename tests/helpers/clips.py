"""Clips of the toy head: parameters, and videos made of pictures."""

import numpy as np
import torch
from helpers.mica_toy import toy_face

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from mica_ext.export.clip_json import SavedClip, Smoothing, VideoEntry
from mica_ext.models.types import Camera, FaceParameters


def toy_clip(head: HeadModel, frames: int = 6) -> SavedClip:
    """Random movement of one identity, with a cut, a held frame and uneven times."""
    face = toy_face(head)
    generator = torch.Generator().manual_seed(3)
    moving = [
        0.2 * torch.randn((frames, v.shape[1]), generator=generator) for v in face.parameters.head
    ]
    shape = face.parameters.head.shape.expand(frames, -1)
    camera = face.parameters.camera
    return SavedClip(
        parameters=FaceParameters(
            HeadParameters(shape, moving[1].abs(), *moving[2:]),
            Camera(
                camera.focal_px.expand(frames),
                camera.centre_px.expand(frames, -1),
                camera.translation + 0.01 * torch.randn((frames, 3), generator=generator),
            ),
        ),
        times_s=np.arange(frames) / 30 + np.where(np.arange(frames) > 3, 0.5, 0),
        states=("tracked",) * (frames - 2) + ("unsure", "held"),
        confidence=np.linspace(0.2, 1, frames),
        shots=((0, 4), (4, frames)),
        expression_names=head.expression_names,
        video=VideoEntry("clip.mp4", (640, 480)),
        smoothing=Smoothing("adaptive Wiener", 0.1, 0.0),
        quality=face.quality,
        provenance=face.provenance,
        fingerprint=face.fingerprint,
    )
