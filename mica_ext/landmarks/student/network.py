"""The landmark network: 478 points of a face from one crop.

`WholeFaceNetwork` sees the crop reduced to 128 pixels and finds 144 key points by heat maps, which
are read by soft-argmax (Sun et al. 2018, "Integral Human Pose Regression"). `PatchNetwork`s then
look at eyes with brows and at the mouth in nearly the crop's own pixels and move their key points.
A face mesh is nearly a linear function of the key points (residual .1 % of the eye distance), so a
linear map gives all others. Whether regions can be seen is read from pooled features and from how
sharp the heat maps' peaks are.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mica_ext.landmarks.regions import KEY_POINTS, REGIONS
from mica_ext.landmarks.student.heatmaps import soft_argmax
from mica_ext.landmarks.student.patches import (
    PARTS,
    PATCH_FEATURES,
    PartOutput,
    PatchNetwork,
    PatchReading,
    cut_patches,
    frames_of,
    read_part,
)
from pacofr.faces.face_mesh.topology import POINTS

INPUT = 224
"""Side of the crops [px]."""
WHOLE = 128
"""Side to which they are reduced for the whole face [px]."""
SIDE_PER_BOX = 1.3
"""Side of the crop over the longer side of the points' box."""
ROLL_FROM_MOUTH = True
"""Crops are upright by eyes and mouth, so that profiles are, too."""
KEYS = len(KEY_POINTS)
CORRECTIONS = 16
"""Shapes by which pooled features correct what the key points tell."""
PEAK_SCALE = 8.0
"""Brings heat maps' peaks to the size of features."""
CONFIDENCES = 2 * len(REGIONS) + 1
"""Visibility and error of each region, and whether there is a face."""
INITIAL_GAIN = 0.5
"""How far key points move to where patches show them; the share is learned."""
HIDDEN = 40
"""Units of the confidences' correction."""
CHANNELS = (24, 48, 96, 128)
"""Of the stem and at strides 4, 8 and 16."""


class LandmarkOutput(NamedTuple):
    """What the network reads from a batch of crops; points lie in [-1, 1] of the crop's sides."""

    points: Float[Tensor, "B 478 2"]
    whole_points: Float[Tensor, "B 478 2"]
    """The points before the patches of eyes and mouth moved them."""
    keys: Float[Tensor, "B K 2"]
    """Key points of the whole face, by soft-argmax of their heat maps."""
    columns: Float[Tensor, "B K w"]
    """The heat maps' marginals; each sums to 1."""
    rows: Float[Tensor, "B K h"]
    visibility_logits: Float[Tensor, "B 7"]
    """Of the share of each region's points that can be seen."""
    log_errors: Float[Tensor, "B 7"]
    """Logarithm of each region's expected error [% of the eye distance]."""
    face_logit: Float[Tensor, " B"]
    """Whether this is the photo of an upright face of the right size."""
    features: Float[Tensor, "B F"]
    """What the confidences of the whole face are read from."""
    parts: tuple[PartOutput, ...] = ()
    """What the patches of `PARTS` show; empty where only the whole face was looked at."""


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


class WholeFaceNetwork(nn.Module):
    """Small RGB crops to 478 points; takes any side that is a multiple of 16, see `WHOLE`."""

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
        self.correction_weights = nn.Linear(coarse, CORRECTIONS, bias=False)
        self.correction = nn.Linear(CORRECTIONS, 2 * POINTS)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        self.confidence = nn.Sequential(
            nn.Linear(coarse + KEYS, 64), nn.ReLU(), nn.Linear(64, CONFIDENCES)
        )

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> LandmarkOutput:
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

    def decode(
        self, logits: Float[Tensor, "B K H W"], pooled: Float[Tensor, "B C"]
    ) -> LandmarkOutput:
        """Points and confidences; always in float32."""
        with torch.autocast(logits.device.type, enabled=False):
            return self._decode(logits.float(), pooled.float())

    def _decode(
        self, logits: Float[Tensor, "B K H W"], pooled: Float[Tensor, "B C"]
    ) -> LandmarkOutput:
        keys, columns, rows, peaks = soft_argmax(logits)
        correction = self.correction(self.correction_weights(pooled)).unflatten(1, (POINTS, 2))
        points = self.points_of(keys) + correction
        features = torch.cat([pooled, PEAK_SCALE * peaks], 1)
        visibility, log_errors, face = _split(self.confidence(features))
        return LandmarkOutput(
            points=points,
            whole_points=points,
            keys=keys,
            columns=columns,
            rows=rows,
            visibility_logits=visibility,
            log_errors=log_errors,
            face_logit=face,
            features=features,
        )

    def points_of(self, keys: Float[Tensor, "B K 2"]) -> Float[Tensor, "B 478 2"]:
        """All points as the linear map gives them."""
        return self.decoder(keys.flatten(1)).unflatten(1, (POINTS, 2))


class LandmarkNetwork(nn.Module):
    """RGB crops of 224 pixels to 478 points."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = WholeFaceNetwork()
        self.eye = PatchNetwork(len(PARTS[0].points))
        self.mouth = PatchNetwork(len(PARTS[2].points))
        self.patch_gain = nn.Parameter(torch.full((KEYS,), INITIAL_GAIN))
        self.confidence = _confidence_head()
        for part in PARTS:  # on the network's device, for a copy in every call would make it wait
            points = torch.from_numpy(part.points)
            self.register_buffer(f"{part.name}_points", points, persistent=False)
            self.register_buffer(f"{part.name}_keys", part.keys, persistent=False)

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> LandmarkOutput:
        """Crops in [0, 1] to points and confidences."""
        small = F.interpolate(crops, size=(WHOLE, WHOLE), mode="bilinear", antialias=True)
        whole = self.whole(small)
        guess = whole.points.detach()
        frames = [frames_of(part, guess) for part in PARTS]
        right, left, mouth = (
            cut_patches(part, crops, frame) for part, frame in zip(PARTS, frames, strict=True)
        )
        eyes = [both.unflatten(0, (2, -1)) for both in self.eye(torch.cat([right, left]))]
        readings = (
            *(PatchReading(*each) for each in zip(*eyes, strict=True)),
            self.mouth(mouth),
        )
        parts = tuple(
            read_part(part, reading, frame)
            for part, reading, frame in zip(PARTS, readings, frames, strict=True)
        )
        visibility, log_errors, face = self._confidences(whole, parts)
        return whole._replace(
            points=self._corrected(whole, parts),
            visibility_logits=visibility,
            log_errors=log_errors,
            face_logit=face,
            parts=parts,
        )

    def _corrected(
        self, whole: LandmarkOutput, parts: tuple[PartOutput, ...]
    ) -> Float[Tensor, "B 478 2"]:
        """The whole face's points after its key points moved towards where the patches show them.

        Gradients reach the patches alone: where they err, the whole face must not learn to make
        up for them, for it decides where they look.
        """
        with torch.autocast(whole.points.device.type, enabled=False):
            before = whole.points.detach()
            change = torch.zeros_like(whole.keys)
            for part, seen in zip(PARTS, parts, strict=True):
                keys = self.get_buffer(f"{part.name}_keys")
                points = self.get_buffer(f"{part.name}_points")
                gain = self.patch_gain[keys, None]
                change[:, keys] = gain * (seen.points - before[:, points])
            moved = F.linear(change.flatten(1), self.whole.decoder.weight.detach())
            return before + moved.unflatten(1, (POINTS, 2))

    def _confidences(
        self, whole: LandmarkOutput, parts: tuple[PartOutput, ...]
    ) -> tuple[Float[Tensor, "B 7"], Float[Tensor, "B 7"], Float[Tensor, " B"]]:
        """The whole face's, corrected by what the patches show; no gradient into features."""
        with torch.autocast(whole.points.device.type, enabled=False):
            seen = [torch.cat([part.features, PEAK_SCALE * part.peaks], 1) for part in parts]
            change = _split(self.confidence(torch.cat([whole.features, *seen], 1).detach()))
            return (
                whole.visibility_logits + change[0],
                whole.log_errors + change[1],
                whole.face_logit + change[2],
            )


def _confidence_head() -> nn.Sequential:
    """Features of the whole face and of all patches to corrections, none at first."""
    features = CHANNELS[-1] + KEYS + sum(PATCH_FEATURES + len(part.points) for part in PARTS)
    last = nn.Linear(HIDDEN, CONFIDENCES)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), last)


def _split(
    confidences: Float[Tensor, "B 15"],
) -> tuple[Float[Tensor, "B 7"], Float[Tensor, "B 7"], Float[Tensor, " B"]]:
    visibility, log_errors, face = confidences.split([len(REGIONS), len(REGIONS), 1], 1)
    return visibility, log_errors, face[:, 0]


def fuse_batch_norms(module: nn.Module) -> None:
    """Work each batch norm into the convolution defined right before it; for inference."""
    before = ""
    for name, child in list(module.named_children()):
        convolution = getattr(module, before, None)
        if isinstance(child, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d):
            setattr(module, before, fuse_conv_bn_eval(convolution, child))
            setattr(module, name, nn.Identity())
        else:
            fuse_batch_norms(child)
        before = name
