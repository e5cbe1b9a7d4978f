"""Heat-map network for 68 landmarks (iBUG order) of the aligned face crop.

A small U-shaped residual network; heat maps are decoded by soft-argmax (Sun et al. 2018, "Integral
Human Pose Regression"). Its input is the `VIEW` of the crop; what lies outside the photo content
(the uniform border of the FFHQ canvas) is zeroed, so that the border's colour has no effect.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mica_ext.landmarks.view import VIEW
from pacofr.faces.align import CROP_CONTENT
from pacofr.faces.landmarks68 import COUNT

HEATMAP_SIZE = 32
"""Cells along each side of a heat map."""
CROP_PER_CELL = VIEW.side / HEATMAP_SIZE


class Residual(nn.Module):
    """Residual block of two 3x3 convolutions: [B,I,H,W] -> [B,O,H/stride,W/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """The block's features."""
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.short(x))


class LandmarkNetwork(nn.Module):
    """Face crop -> 68 points; 1.7 million parameters."""

    content: Tensor
    cell_centres: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(32)
        self.fine = nn.Sequential(Residual(32, 64, 2), Residual(64, 64))
        self.middle = nn.Sequential(Residual(64, 128, 2), Residual(128, 128), Residual(128, 128))
        self.coarse = nn.Sequential(Residual(128, 128, 2), Residual(128, 128))
        self.merge_middle = nn.Conv2d(128, 64, 3, 1, 1, bias=False)
        self.merge_middle_norm = nn.BatchNorm2d(64)
        self.merge_fine = Residual(64, 64)
        self.maps = nn.Conv2d(64, COUNT, 1)
        positions = VIEW.scale * (torch.arange(VIEW.pixels) + 0.5) + VIEW.start
        inside = ((positions > CROP_CONTENT.start + 1) & (positions < CROP_CONTENT.end - 1)).float()
        self.register_buffer("content", inside[:, None] * inside[None, :], persistent=False)
        centres = (torch.arange(HEATMAP_SIZE) + 0.5) * CROP_PER_CELL + VIEW.start - 0.5
        self.register_buffer("cell_centres", centres, persistent=False)

    def forward(self, face: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 68 2"]:
        """Face crops in [0,1] -> points in crop pixels (centre of the first pixel: 0)."""
        return self.decode(self.logits(crop_view(face)))

    def predict(
        self, face: Float[Tensor, "B 3 224 224"]
    ) -> tuple[Float[Tensor, "B 68 2"], Float[Tensor, " B"]]:
        """Landmarks as by `forward`, and the mean peak of the heat maps (faces: 0.10 to 0.20)."""
        logits = self.logits(crop_view(face))
        return self.decode(logits), logits.softmax(-1).amax(-1).mean(1)

    def logits(self, view: Float[Tensor, "B 3 128 128"]) -> Float[Tensor, "B 68 1024"]:
        """Views in [0,1] -> logits of each landmark's cell, row by row."""
        x = (view - 0.45) * 4 * self.content
        x = self.fine(F.relu(self.stem_norm(self.stem(x))))
        y = self.middle(x)
        z = y + F.interpolate(self.coarse(y), scale_factor=2.0, mode="nearest")
        z = F.relu(self.merge_middle_norm(self.merge_middle(z)))
        z = self.merge_fine(x + F.interpolate(z, scale_factor=2.0, mode="nearest"))
        return self.maps(z).flatten(2).float()

    def decode(self, logits: Float[Tensor, "B 68 1024"]) -> Float[Tensor, "B 68 2"]:
        """Soft-argmax of the heat maps, in crop pixels."""
        return self.soft_argmax(*marginals(logits))

    def soft_argmax(
        self, columns: Float[Tensor, "B 68 32"], rows: Float[Tensor, "B 68 32"]
    ) -> Float[Tensor, "B 68 2"]:
        """Expected position in crop pixels under these marginals."""
        return torch.stack([columns @ self.cell_centres, rows @ self.cell_centres], -1)


def marginals(
    logits: Float[Tensor, "B 68 1024"],
) -> tuple[Float[Tensor, "B 68 32"], Float[Tensor, "B 68 32"]]:
    """Logits -> probabilities of the columns and of the rows of each heat map."""
    mass = logits.softmax(-1).unflatten(-1, (HEATMAP_SIZE, HEATMAP_SIZE))
    return mass.sum(-2), mass.sum(-1)


def crop_view(face: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 3 128 128"]:
    """Cut `VIEW` out of face crops and resize it to the network's input size."""
    part = slice(VIEW.start, VIEW.start + VIEW.side)
    size = (VIEW.pixels, VIEW.pixels)
    return F.interpolate(face[:, :, part, part], size=size, mode="bilinear", antialias=True)
