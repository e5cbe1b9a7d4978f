"""The frames of a video that its identity is read from: few, spread over it, frontal and sharp."""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mica_ext.identity.same_person import frontality, sharpness
from mica_ext.models.types import AlignedFace

EVERY_S = 0.2
"""Between frames that are looked at [s]."""
MOST = 32
"""Frames kept: where there are more, the worse one of each two that follow each other goes."""


class IdentityFrame(NamedTuple):
    """One frame."""

    number: int
    """Of the frame in the video."""
    arcface: UInt8[Tensor, "3 112 112"]
    landmarks_px: Float[Tensor, "68 2"]
    luma: float
    """95th percentile of the face's luma, 0 to 255."""
    weight: float
    """Frontal, sharp and surely a face: 1; else less."""


class Candidates:
    """A bounded choice of frames, made while they pass by."""

    def __init__(self) -> None:
        self.frames: list[IdentityFrame] = []
        self._next_s = 0.0
        self._every_s = EVERY_S

    def wants(self, time_s: float) -> bool:
        """Whether it is time to look at a frame."""
        return time_s >= self._next_s

    def add(self, number: int, time_s: float, face: AlignedFace, luma: float) -> None:
        """Look at a face, without a batch dimension."""
        self._next_s = time_s + self._every_s
        weight = float(frontality(face.landmarks_px[None])[0] * sharpness(face.arcface[None])[0])
        crop = ((face.arcface + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        weight *= float(face.confidence * face.visibility.mean())
        self.frames.append(IdentityFrame(number, crop, face.landmarks_px, luma, weight))
        if len(self.frames) >= 2 * MOST:
            pairs = zip(self.frames[::2], self.frames[1::2], strict=True)
            self.frames = [max(pair, key=lambda frame: frame.weight) for pair in pairs]
            self._every_s *= 2

    def best(self) -> list[IdentityFrame]:
        """At most `MOST` frames in their order, those of the largest weight."""
        kept = sorted(self.frames, key=lambda frame: -frame.weight)[:MOST]
        return sorted(kept, key=lambda frame: frame.number)


def crops_of(frames: list[IdentityFrame]) -> Float[Tensor, "N 3 112 112"]:
    """The frames' crops as the identity network takes them, in [-1, 1]."""
    return torch.stack([frame.arcface for frame in frames]).float() / 127.5 - 1
