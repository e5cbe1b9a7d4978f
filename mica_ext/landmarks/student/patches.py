"""A closer look at the eyes with their brows, and at the mouth.

A patch is a square of the crop around a part, at about the crop's own resolution; those of the left
eye are mirrored, so that one network reads both.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mica_ext.landmarks.regions import KEY_POINTS
from mica_ext.landmarks.student.heatmaps import soft_argmax
from pacofr.faces.face_mesh.topology import (
    INNER_LIPS,
    MIRROR,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)

CHANNELS = (24, 40)
"""Of the patch network at strides 2 and 4, and at 8 as at 4."""
PATCH_FEATURES = CHANNELS[-1]
_EYE = np.concatenate([RIGHT_EYE, np.arange(478)[RIGHT_IRIS], RIGHT_BROW])
_MOUTH = np.concatenate([OUTER_LIPS, INNER_LIPS])
_KEY_INDEX = {int(point): index for index, point in enumerate(KEY_POINTS)}


class Part(NamedTuple):
    """A part of the face with a patch of its own."""

    name: str
    size: int
    """Side of the patch [px]."""
    points: Int64[np.ndarray, " n"]
    """Its points, all of them key points."""
    keys: Int64[Tensor, " n"]
    """Their numbers among `KEY_POINTS`."""
    corners: tuple[int, int]
    """Outer and inner corner, or both corners."""
    reach: float
    """Half the patch's side over the distance of the corners."""
    lift: float
    """How far the patch's centre lies above the corners' middle, over half its side."""
    mirrored: bool


class Frames(NamedTuple):
    """Where patches lie in their crops, in [-1, 1] of the crops' sides."""

    centre: Float[Tensor, "B 2"]
    half: Float[Tensor, " B"]
    """Half the side."""


class PatchReading(NamedTuple):
    """What a patch network reads."""

    logits: Float[Tensor, "B n h h"]
    """Of heat maps."""
    features: Float[Tensor, "B c"]
    """Pooled over the patch."""


class PartOutput(NamedTuple):
    """What patches show."""

    points: Float[Tensor, "B n 2"]
    """In [-1, 1] of the crop's sides."""
    local: Float[Tensor, "B n 2"]
    """In [-1, 1] of the patch's sides, before mirroring is undone."""
    columns: Float[Tensor, "B n w"]
    """Marginals of the heat maps in the patch."""
    rows: Float[Tensor, "B n h"]
    peaks: Float[Tensor, "B n"]
    """Largest share of one cell."""
    features: Float[Tensor, "B c"]
    frames: Frames


def _part(name: str, points: np.ndarray, corners: tuple[int, int], mirrored: bool = False) -> Part:
    keys = torch.tensor([_KEY_INDEX[int(point)] for point in points])
    if name == "mouth":
        return Part(name, 80, points, keys, corners, 0.85, 0.0, mirrored)
    return Part(name, 72, points, keys, corners, 1.25, 0.35, mirrored)


PARTS = (
    _part("right_eye", _EYE, (33, 133)),
    _part("left_eye", MIRROR[_EYE], (263, 362), mirrored=True),
    _part("mouth", _MOUTH, (61, 291)),
)
LIP_MIDDLES = (0, 17)
"""Upper and lower edge of the lips: an open mouth is higher than wide."""
MIN_HALF = 0.12
"""Least half side of a patch: corners of a far eye may coincide."""


class PatchNetwork(nn.Module):
    """RGB patches to heat-map logits of n points: [B,3,s,s] -> [B,n,s/2,s/2], and features."""

    def __init__(self, points: int) -> None:
        super().__init__()
        fine, coarse = CHANNELS
        self.fine = nn.Sequential(_convolution(3, fine, 2, kernel=5), _convolution(fine, fine))
        self.middle = nn.Sequential(_convolution(fine, coarse, 2), _convolution(coarse, coarse))
        self.coarse = nn.Sequential(
            _convolution(coarse, coarse, 2), _convolution(coarse, coarse, dilation=2)
        )
        self.merge_coarse = nn.Conv2d(coarse, coarse, 1)
        self.merge_middle = nn.Conv2d(coarse, fine, 1)
        self.heatmaps = nn.Sequential(_convolution(fine, fine), nn.Conv2d(fine, points, 1))

    def forward(self, patches: Float[Tensor, "B 3 s s"]) -> PatchReading:
        """Logits and features; may run in bfloat16."""
        x = self.fine((patches - 0.45) * 4)
        y = self.middle(x)
        z = self.coarse(y)
        y = y + F.interpolate(self.merge_coarse(z), scale_factor=2.0, mode="nearest")
        y = self.merge_middle(y)
        logits = self.heatmaps(x + F.interpolate(y, scale_factor=2.0, mode="nearest"))
        return PatchReading(logits, z.mean((2, 3)))


def read_part(part: Part, reading: PatchReading, frames: Frames) -> PartOutput:
    """Points of the part in the crop, from its heat maps' logits; always in float32."""
    with torch.autocast(reading.logits.device.type, enabled=False):
        local, columns, rows, peaks = soft_argmax(reading.logits.float())
        points = from_patch(part, local, frames)
        return PartOutput(points, local, columns, rows, peaks, reading.features.float(), frames)


def frames_of(part: Part, points: Float[Tensor, "B 478 2"]) -> Frames:
    """The part's squares, from all points of the face."""
    first, second = (points[:, corner] for corner in part.corners)
    width = (first - second).norm(dim=1)
    centre = (first + second) / 2
    if part.name == "mouth":
        upper, lower = (points[:, middle] for middle in LIP_MIDDLES)
        width = torch.maximum(width, (upper - lower).norm(dim=1))
        centre = (first + second + upper + lower) / 4
    half = (part.reach * width).clamp(min=MIN_HALF)
    centre = centre - torch.stack([torch.zeros_like(half), part.lift * half], 1)
    return Frames(centre, half)


def cut_patches(
    part: Part, crops: Float[Tensor, "B 3 S S"], frames: Frames
) -> Float[Tensor, "B 3 s s"]:
    """Bilinear patches; the crop's edge goes on outside it."""
    ticks = (torch.arange(part.size, device=crops.device) + 0.5) * (2 / part.size) - 1
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)
    places = from_patch(part, grid.flatten(0, 1)[None], frames)
    places = places.unflatten(1, (part.size, part.size))
    return F.grid_sample(
        crops, places, mode="bilinear", padding_mode="border", align_corners=False
    ).contiguous(memory_format=torch.channels_last)


def from_patch(part: Part, local: Float[Tensor, "b n 2"], frames: Frames) -> Float[Tensor, "B n 2"]:
    """[-1, 1] of the patch's sides to [-1, 1] of the crop's."""
    return _flipped(part, local) * frames.half[:, None, None] + frames.centre[:, None]


def to_patch(part: Part, points: Float[Tensor, "B n 2"], frames: Frames) -> Float[Tensor, "B n 2"]:
    """The inverse of `from_patch`."""
    return _flipped(part, (points - frames.centre[:, None]) / frames.half[:, None, None])


def _flipped(part: Part, local: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n 2"]:
    return torch.stack([-local[..., 0], local[..., 1]], -1) if part.mirrored else local


def _convolution(
    inputs: int, outputs: int, stride: int = 1, kernel: int = 3, dilation: int = 1
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
