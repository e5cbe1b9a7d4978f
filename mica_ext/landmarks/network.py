"""68 landmarks (iBUG order) from the aligned face crop: heat maps read by their centre of mass.

The network looks at the central 192 of the crop's 224 pixels, reduced to 128; whatever lies outside
the photo content (the uniform border of the FFHQ canvas) is blanked, so its colour cannot matter.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from mica_ext.errors import UserError
from mica_ext.landmarks.view import VIEW
from pacofr.faces.align import CROP_CONTENT
from pacofr.faces.landmarks68 import COUNT
from pacofr.utils.files import write_atomic, write_json

FORMAT, VERSION = "mica-ext landmarks68", 1
LICENCE = "research only: trained on photos with 300-W/Helen markup; code Apache-2.0"
SHIPPED = Path(__file__).parents[1] / "weights" / "landmarks68"
CELLS = 32
"""Side of the heat maps."""
CROP_PER_CELL = VIEW.side / CELLS


class Residual(nn.Module):
    """Two 3x3 convolutions beside a short cut: [B,I,H,W] -> [B,O,H/stride,W/stride]."""

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
        at = VIEW.scale * (torch.arange(VIEW.pixels) + 0.5) + VIEW.start
        inside = ((at > CROP_CONTENT.start + 1) & (at < CROP_CONTENT.end - 1)).float()
        self.register_buffer("content", inside[:, None] * inside[None, :], persistent=False)
        centres = (torch.arange(CELLS) + 0.5) * CROP_PER_CELL + VIEW.start - 0.5
        self.register_buffer("cell_centres", centres, persistent=False)

    def forward(self, face: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 68 2"]:
        """Face crops in [0,1] -> points in crop pixels (centre of the first pixel: 0)."""
        return self.read(self.heat(reduce_view(face)))

    def look(
        self, face: Float[Tensor, "B 3 224 224"]
    ) -> tuple[Float[Tensor, "B 68 2"], Float[Tensor, " B"]]:
        """As `forward`, and how sure it is: mean height of the maps' peaks (faces: .10 to .20)."""
        heat = self.heat(reduce_view(face))
        return self.read(heat), heat.softmax(-1).amax(-1).mean(1)

    def heat(self, view: Float[Tensor, "B 3 128 128"]) -> Float[Tensor, "B 68 1024"]:
        """Reduced views in [0,1] -> logits of each point's place among the 32 x 32 cells."""
        x = (view - 0.45) * 4 * self.content
        x = self.fine(F.relu(self.stem_norm(self.stem(x))))
        y = self.middle(x)
        z = y + F.interpolate(self.coarse(y), scale_factor=2.0, mode="nearest")
        z = F.relu(self.merge_middle_norm(self.merge_middle(z)))
        z = self.merge_fine(x + F.interpolate(z, scale_factor=2.0, mode="nearest"))
        return self.maps(z).flatten(2).float()

    def read(self, heat: Float[Tensor, "B 68 1024"]) -> Float[Tensor, "B 68 2"]:
        """Logits -> centre of mass of each map, in crop pixels."""
        return self.centre_of_mass(*margins(heat))

    def centre_of_mass(
        self, columns: Float[Tensor, "B 68 32"], rows: Float[Tensor, "B 68 32"]
    ) -> Float[Tensor, "B 68 2"]:
        """Mean place in crop pixels of maps with these margins."""
        return torch.stack([columns @ self.cell_centres, rows @ self.cell_centres], -1)


def margins(
    heat: Float[Tensor, "B 68 1024"],
) -> tuple[Float[Tensor, "B 68 32"], Float[Tensor, "B 68 32"]]:
    """Logits -> how each map's mass is spread over columns and over rows."""
    mass = heat.softmax(-1).unflatten(-1, (CELLS, CELLS))
    return mass.sum(-2), mass.sum(-1)


def reduce_view(face: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 3 128 128"]:
    """The part of the crop that the network sees, at the side at which it sees it."""
    seen = slice(VIEW.start, VIEW.start + VIEW.side)
    size = (VIEW.pixels, VIEW.pixels)
    return F.interpolate(face[:, :, seen, seen], size=size, mode="bilinear", antialias=True)


class LandmarkWeights(NamedTuple):
    """What `config.json` says of the weights beside it."""

    format: str
    version: int
    name: str
    licence: str
    sha256: str
    """Of model.safetensors."""
    command: str
    """That made them."""
    seed: int
    score: str
    """Measured, in words."""


def save_landmark_network(
    network: LandmarkNetwork, folder: Path, *, name: str, command: str, seed: int, score: str
) -> LandmarkWeights:
    """Write `config.json` and `model.safetensors` (float16); each file is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    packed = save(tensors)
    digest = hashlib.sha256(packed).hexdigest()
    about = LandmarkWeights(FORMAT, VERSION, name, LICENCE, digest, command, seed, score)
    write_atomic(folder / "model.safetensors", packed)
    write_json(folder / "config.json", about._asdict())
    return about


def read_landmark_config(folder: Path | None = None) -> LandmarkWeights:
    """What is known of the weights in `folder` (None: those shipped)."""
    path = (folder or SHIPPED) / "config.json"
    try:
        about = LandmarkWeights(**json.loads(path.read_text()))
    except OSError as error:
        raise UserError(
            f"{path}: expected landmark weights, cannot read them ({error.strerror}): give the "
            "folder `model` of a run of `mica-ext train-landmarks`, or reinstall"
        ) from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: expected the config of landmark weights ({error})") from error
    if (about.format, about.version) != (FORMAT, VERSION):
        raise UserError(
            f"{path}: expected {FORMAT} version {VERSION}, found {about.format} version "
            f"{about.version}: train again with `mica-ext train-landmarks`"
        )
    return about


def load_landmark_network(folder: Path | None = None) -> LandmarkNetwork:
    """The network with the weights of `folder` (None: those shipped), ready for inference."""
    about = read_landmark_config(folder)
    path = (folder or SHIPPED) / "model.safetensors"
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): reinstall") from error
    digest = hashlib.sha256(packed).hexdigest()
    if digest != about.sha256:
        raise UserError(
            f"{path}: expected sha256 {about.sha256[:12]}... of its config.json, found "
            f"{digest[:12]}...: the file is damaged or not its own, reinstall or copy both again"
        )
    network = LandmarkNetwork()
    wanted = {k for k in network.state_dict() if not k.endswith("num_batches_tracked")}
    try:
        tensors = {key: value.float() for key, value in load(packed).items()}
        if tensors.keys() != wanted:
            odd = sorted(tensors.keys() ^ wanted)
            raise UserError(f"{path}: expected this network's tensors, differing in {odd[0]}")
        network.load_state_dict(tensors, strict=False)  # all but the batch counters
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: expected weights of this network ({first})") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()
