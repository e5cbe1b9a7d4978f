"""MTCNN (Zhang et al. 2016): three small networks that propose, refine and confirm faces.

Works on batches of photos of one size. Boxes are (x0, y0, x1, y1) in continuous pixel
coordinates where pixel i covers [i, i + 1); the points returned follow the package's rule that
pixel centres are whole numbers.
"""

import functools
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from pacofr.faces.mtcnn.weights import read_weights

PYRAMID_STEP = 0.709  # about 1 / sqrt(2): the area halves from level to level
PNET_CELL, PNET_STRIDE = 12, 2
PNET_SCORE, RNET_SCORE, ONET_SCORE = 0.6, 0.7, 0.7
GREY = (127.5, 127.5, 127.5)  # zero for the networks: outside the photo


class Detections(NamedTuple):
    """Faces of a batch of photos, best first within each photo."""

    image: Int64[np.ndarray, " n"]
    """Which photo of the batch."""
    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    points: Float32[np.ndarray, "n 5 2"]


class PNet(nn.Module):
    """Proposals: face score and box corrections for every 12x12 window, two pixels apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.box, self.score = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)

    def forward(
        self, image: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b y x"], Float[Tensor, "b 4 y x"]]:
        """Scores in [0, 1] and corrections of the windows' four sides in units of 12 px."""
        x = functional.max_pool2d(self.prelu1(self.conv1(image)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return _probability(self.score(x), 1), self.box(x)


class RNet(nn.Module):
    """Refinement of 24x24 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.box, self.score = nn.Linear(128, 4), nn.Linear(128, 2)

    def forward(
        self, patch: Float[Tensor, "n 3 24 24"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 4"]]:
        """Scores in [0, 1] and corrections of the four sides in units of the box."""
        x = functional.max_pool2d(self.prelu1(self.conv1(patch)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense(x.flatten(1)))
        return _probability(self.score(x), 1), self.box(x)


class ONet(nn.Module):
    """Last word on 48x48 patches, with five points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.box, self.points = nn.Linear(256, 4), nn.Linear(256, 10)
        self.score = nn.Linear(256, 2)

    def forward(
        self, patch: Float[Tensor, "n 3 48 48"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 4"], Float[Tensor, "n 5 2"]]:
        """Scores in [0, 1], corrections and five points (x, y), both in units of the box."""
        x = functional.max_pool2d(self.prelu1(self.conv1(patch)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = functional.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense(x.flatten(1)))
        points = self.points(x).unflatten(1, (2, 5)).transpose(1, 2)
        return _probability(self.score(x), 1), self.box(x), points


def _probability(logits: Tensor, dim: int) -> Tensor:
    """Softmax of two classes, the face's share."""
    no, yes = logits.unbind(dim)
    return torch.sigmoid(yes - no)


class Mtcnn:
    """The cascade. `__call__` takes photos of one size and returns their faces."""

    def __init__(self, pnet: PNet, rnet: RNet, onet: ONet) -> None:
        self.pnet, self.rnet, self.onet = pnet.eval(), rnet.eval(), onet.eval()

    @torch.inference_mode()
    def __call__(self, images: UInt8[np.ndarray, "b h w 3"], min_face: float = 24.0) -> Detections:
        """Detect faces whose boxes are at least about `min_face` pixels wide."""
        halves = [_halvings(image) for image in images]
        owner, boxes, scores = self._propose(halves, min_face)

        boxes = _square(boxes)
        score, shift = self.rnet(_patches(halves, owner, boxes, 24))
        owner, boxes, scores = _refined(owner, boxes, score, shift, RNET_SCORE)
        keep = _suppress(owner, boxes, scores, 0.7)
        owner, boxes = owner[keep], _square(boxes[keep])

        score, shift, _ = self.onet(_patches(halves, owner, boxes, 48))
        owner, boxes, scores = _refined(owner, boxes, score, shift, ONET_SCORE)
        keep = _suppress(owner, boxes, scores, 0.4)
        owner, boxes, scores = owner[keep], boxes[keep], scores[keep]
        return Detections(owner, boxes, scores, self._points(halves, owner, boxes))

    @torch.inference_mode()
    def confirm(
        self, image: UInt8[np.ndarray, "h w 3"], boxes: Float32[np.ndarray, "n 4"]
    ) -> Float32[np.ndarray, " n"]:
        """The last network's score of boxes that came from elsewhere."""
        owner = np.zeros(len(boxes), np.int64)
        return self.onet(_patches([_halvings(image)], owner, _square(boxes), 48))[0].numpy()

    def _points(
        self,
        halves: list[list[np.ndarray]],
        owner: Int64[np.ndarray, " n"],
        boxes: Float32[np.ndarray, "n 4"],
    ) -> Float32[np.ndarray, "n 5 2"]:
        """Five points of the final boxes, averaged over the patch and its mirror image.

        Looking again from the corrected box takes a tenth off the error of the first look.
        """
        boxes = _square(boxes)
        patches = _patches(halves, owner, boxes, 48)
        points = self.onet(torch.cat([patches, patches.flip(3)]))[2].numpy()
        plain, mirrored = points[: len(boxes)], points[len(boxes) :, [1, 0, 2, 4, 3]]
        mean = (plain + np.stack([1 - mirrored[..., 0], mirrored[..., 1]], 2)) / 2
        return boxes[:, None, :2] + mean * (boxes[:, None, 2:] - boxes[:, None, :2]) - 0.5

    def _propose(
        self, halves: list[list[np.ndarray]], min_face: float
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n 4"], Float32[np.ndarray, " n"]]:
        """Windows that look like faces: photo's index, corrected box, score."""
        height, width = halves[0][0].shape[:2]
        found = []
        scale = PNET_CELL / min_face
        while min(height, width) * scale >= PNET_CELL:
            size = (round(width * scale), round(height * scale))
            half = min(int(-np.log2(min(scale, 1.0))), len(halves[0]) - 1)
            small = [cv2.resize(h[half], size, interpolation=cv2.INTER_AREA) for h in halves]
            score, shift = self.pnet(_as_input(np.stack(small)))
            b, y, x = torch.nonzero(score > PNET_SCORE, as_tuple=True)
            corner = torch.stack([x, y], 1).float() * PNET_STRIDE
            box = torch.cat([corner, corner + PNET_CELL], 1) + PNET_CELL * shift[b, :, y, x]
            step = torch.tensor([width / size[0], height / size[1]]).repeat(2)
            found.append((b.numpy(), (box * step).numpy(), score[b, y, x].numpy()))
            scale *= PYRAMID_STEP
        if not found:
            empty = np.zeros((0, 4), np.float32)
            return np.zeros(0, np.int64), empty, empty[:, 0]
        owner, boxes, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        level = np.repeat(np.arange(len(found)), [len(scores) for _, _, scores in found])
        keep = _suppress(owner * len(found) + level, boxes, scores, 0.5)
        owner, boxes, scores = owner[keep], boxes[keep], scores[keep]
        keep = _suppress(owner, boxes, scores, 0.7)
        return owner[keep], boxes[keep], scores[keep]


@functools.cache
def load_mtcnn() -> Mtcnn:
    """The cascade with the weights of the `mtcnn` wheel (checked, see `weights`)."""
    nets = (PNet(), RNet(), ONet())
    for name, net in zip(("pnet", "rnet", "onet"), nets, strict=True):
        net.load_state_dict(read_weights(name))
        net.requires_grad_(False)
        net.to(memory_format=torch.channels_last)  # as photos lie  # pyright: ignore
    return Mtcnn(*nets)


def _as_input(images: UInt8[np.ndarray, "n h w 3"]) -> Float32[Tensor, "n 3 h w"]:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(127.5).mul_(1 / 128)


def _halvings(image: UInt8[np.ndarray, "h w 3"]) -> list[np.ndarray]:
    """The photo and its successive halvings by area, down to about 48 px."""
    levels = [image]
    while min(levels[-1].shape[:2]) >= 96:
        height, width = levels[-1].shape[:2]
        half = (width // 2, height // 2)
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return levels


def _patches(
    halves: list[list[np.ndarray]],
    owner: Int64[np.ndarray, " n"],
    boxes: Float32[np.ndarray, "n 4"],
    size: int,
) -> Float32[Tensor, "n 3 size size"]:
    """Boxes resampled to `size` squares, each from the halving where it is 1 to 2 times as wide."""
    out = np.empty((len(boxes), size, size, 3), np.uint8)
    wanted = np.floor(np.log2(np.maximum((boxes[:, 2] - boxes[:, 0]) / size, 1))).astype(int)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    for index in np.unique(owner):
        levels = halves[index]
        level_of = np.minimum(wanted, len(levels) - 1)
        height, width = levels[0].shape[:2]
        for level in np.unique(level_of[owner == index]):
            rows = np.flatnonzero((owner == index) & (level_of == level))
            photo = levels[level]
            step = np.array([photo.shape[1] / width, photo.shape[0] / height], np.float32)
            low, side = boxes[rows, :2] * step, (boxes[rows, 2:] - boxes[rows, :2]) * step
            at = low[:, None] + side[:, None] * grid[:, None] - 0.5  # [n, size, (x, y)]
            shape = (len(rows), size, size)
            x = np.broadcast_to(at[:, None, :, 0], shape).reshape(-1, size)
            y = np.broadcast_to(at[:, :, None, 1], shape).reshape(-1, size)
            out[rows] = _remap(photo, x, y).reshape(len(rows), size, size, 3)
    return _as_input(out)


def _remap(
    photo: UInt8[np.ndarray, "h w 3"],
    x: Float32[np.ndarray, "rows size"],
    y: Float32[np.ndarray, "rows size"],
) -> UInt8[np.ndarray, "rows size 3"]:
    most = 32000  # OpenCV counts rows in 16 bits
    parts = [
        cv2.remap(
            photo,
            np.ascontiguousarray(x[i : i + most]),
            np.ascontiguousarray(y[i : i + most]),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=GREY,
        )
        for i in range(0, len(x), most)
    ]
    return np.concatenate(parts)


def _refined(
    owner: Int64[np.ndarray, " n"],
    boxes: Float32[np.ndarray, "n 4"],
    score: Tensor,
    shift: Tensor,
    least: float,
) -> tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "m 4"], Float32[np.ndarray, " m"]]:
    """Boxes whose score exceeds `least`, their sides moved as the network says."""
    scores = score.numpy()
    kept = scores > least
    size = (boxes[:, 2:] - boxes[:, :2])[kept]
    moved = boxes[kept] + shift.numpy()[kept] * np.concatenate([size, size], 1)
    return owner[kept], moved, scores[kept]


def _square(boxes: Float32[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
    """The square about each box's centre with its longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _suppress(
    group: Int64[np.ndarray, " n"],
    boxes: Float32[np.ndarray, "n 4"],
    scores: Float32[np.ndarray, " n"],
    overlap: float,
) -> Int64[np.ndarray, " m"]:
    """Greedy non-maximum suppression within groups: rows kept, best first."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    shapes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(np.float64)
    kept = cv2.dnn.NMSBoxesBatched(  # arrays do for its sequences
        shapes,  # pyright: ignore[reportArgumentType]
        scores,  # pyright: ignore[reportArgumentType]
        group.astype(np.int32),  # pyright: ignore[reportArgumentType]
        0.0,
        overlap,
    )
    return np.asarray(kept, np.int64).reshape(-1)
