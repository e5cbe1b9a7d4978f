"""Network of the dense landmarks: heat maps of key points, a linear map from them to all 478.

The heat maps are read by soft-argmax (Sun et al. 2018, "Integral Human Pose Regression"). A face
mesh is nearly a linear function of its 144 key points (residual .1 % of the eye distance), so only
those need maps.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mica_ext.landmarks.dense.regions import KEY_POINTS, REGIONS
from pacofr.faces.face_mesh.topology import POINTS

INPUT = 160
"""Side of the crops at inference [px]."""
SIDE_PER_BOX = 1.3
"""Side of the crop over the longer side of the points' box."""
STRIDE = 4
"""Input pixels per heat-map cell."""
KEYS = len(KEY_POINTS)
CHANNELS = (24, 48, 96, 128)
"""Of the stem and at strides 4, 8 and 16."""


class DenseOutput(NamedTuple):
    """What the network reads from a batch of crops; points lie in [-1, 1] of the crop's sides."""

    points: Float[Tensor, "B 478 2"]
    keys: Float[Tensor, "B K 2"]
    """Soft-argmax of the key points' heat maps."""
    columns: Float[Tensor, "B K w"]
    """The heat maps' marginals; each sums to 1."""
    rows: Float[Tensor, "B K h"]
    visibility_logits: Float[Tensor, "B 7"]
    """Of the share of each region's points that can be seen."""
    log_errors: Float[Tensor, "B 7"]
    """Logarithm of each region's expected error [% of the eye distance]."""
    face_logit: Float[Tensor, " B"]
    """Whether there is an upright face of the right size."""


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut: [B,I,H,W] -> [B,O,H/stride,W/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """The block's features."""
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class DenseLandmarkNetwork(nn.Module):
    """RGB crops to 478 points; takes any side that is a multiple of 16, see `INPUT`."""

    def __init__(self) -> None:
        super().__init__()
        stem, fine, middle, coarse = CHANNELS
        self.stem = nn.Conv2d(3, stem, 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        self.fine = nn.Sequential(Residual(stem, fine, 2), Residual(fine, fine))
        self.middle = nn.Sequential(
            Residual(fine, middle, 2), Residual(middle, middle), Residual(middle, middle)
        )
        self.coarse = nn.Sequential(
            Residual(middle, coarse, 2), Residual(coarse, coarse), Residual(coarse, coarse)
        )
        self.merge_coarse = nn.Conv2d(coarse, middle, 1)
        self.merge_middle = nn.Conv2d(middle, fine, 3, 1, 1, bias=False)
        self.merge_middle_norm = nn.BatchNorm2d(fine)
        self.merge_fine = Residual(fine, fine)
        self.heatmaps = nn.Conv2d(fine, KEYS, 1)
        self.decoder = nn.Linear(2 * KEYS, 2 * POINTS)
        self.correction = nn.Linear(coarse, 2 * POINTS)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        self.confidence = nn.Sequential(
            nn.Linear(coarse + KEYS, 64), nn.ReLU(), nn.Linear(64, 2 * len(REGIONS) + 1)
        )

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> DenseOutput:
        """Crops in [0, 1] to points and confidences."""
        logits, pooled = self.features(crops)
        return self.decode(logits, pooled)

    def features(
        self, crops: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B K H W"], Float[Tensor, "B C"]]:
        """Heat-map logits and pooled features; may run in bfloat16."""
        x = self.fine(F.relu(self.stem_norm(self.stem((crops - 0.45) * 4))))
        y = self.middle(x)
        z = self.coarse(y)
        y = y + F.interpolate(self.merge_coarse(z), scale_factor=2.0, mode="nearest")
        y = F.relu(self.merge_middle_norm(self.merge_middle(y)))
        x = self.merge_fine(x + F.interpolate(y, scale_factor=2.0, mode="nearest"))
        return self.heatmaps(x), z.mean((2, 3))

    def decode(self, logits: Float[Tensor, "B K H W"], pooled: Float[Tensor, "B C"]) -> DenseOutput:
        """Points and confidences; always in float32."""
        with torch.autocast(logits.device.type, enabled=False):
            return self._decode(logits.float(), pooled.float())

    def _decode(
        self, logits: Float[Tensor, "B K H W"], pooled: Float[Tensor, "B C"]
    ) -> DenseOutput:
        heat = logits.flatten(2).softmax(-1)
        peaks = heat.amax(-1)
        heat = heat.unflatten(-1, logits.shape[2:])
        columns, rows = heat.sum(2), heat.sum(3)
        keys = torch.stack([columns @ cell_centres(columns), rows @ cell_centres(rows)], -1)
        points = self.decoder(keys.flatten(1)) + self.correction(pooled)
        confidence = self.confidence(torch.cat([pooled, 8 * peaks], 1))
        visibility, log_errors, face = confidence.split([len(REGIONS), len(REGIONS), 1], 1)
        return DenseOutput(
            points.unflatten(1, (POINTS, 2)),
            keys,
            columns,
            rows,
            visibility,
            log_errors,
            face[:, 0],
        )


def cell_centres(marginals: Float[Tensor, "B K n"]) -> Float[Tensor, " n"]:
    """Places in [-1, 1] of the cells that the marginals count."""
    count = marginals.shape[-1]
    return (torch.arange(count, device=marginals.device) + 0.5) * (2 / count) - 1
