"""MTCNN's cascade (Zhang et al. 2016): propose, refine and confirm faces of photos of one size.

Boxes are (x0, y0, x1, y1) in continuous pixel coordinates where pixel i covers [i, i + 1); the
points returned follow the package's rule that pixel centres are whole numbers. Memory does not
grow with the photo beyond its own pyramid: large levels go through the first network in bands, and
patches through the others in chunks.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from pacofr.faces.mtcnn.networks import ONet, PNet, RNet
from pacofr.faces.mtcnn.weights import read_weights

PYRAMID_STEP = 0.709
"""About 1 / sqrt(2): the area halves from level to level."""
PNET_CELL, PNET_STRIDE = 12, 2
PNET_SCORE, RNET_SCORE, ONET_SCORE = 0.6, 0.7, 0.7
RNET_PX, ONET_PX = 24, 48
"""Sides of the patches that the networks see."""
BAND_PIXELS = 2_000_000
"""Of a level that goes through the first network at once, over all photos of the batch."""
MAX_PROPOSALS = 10_000
"""Best windows of a pyramid level that go on; noise has many more."""
CHUNK_PATCHES = 2048
REMAP_ROWS = 32_000
"""OpenCV counts rows in 16 bits."""
GREY = (127.5, 127.5, 127.5)
"""Zero for the networks: what lies outside the photo."""

Pyramid = list[UInt8[np.ndarray, "_ _ 3"]]
"""A photo and its successive halvings."""


class Detections(NamedTuple):
    """Faces of a batch of photos, best first within each photo."""

    image: Int64[np.ndarray, " n"]
    """Which photo of the batch."""
    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    points: Float32[np.ndarray, "n 5 2"]


class Proposals(NamedTuple):
    """Windows that may show a face."""

    image: Int64[np.ndarray, " n"]
    """Which photo of the batch."""
    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]

    def rows(self, keep: np.ndarray) -> "Proposals":
        """Those at these positions."""
        return Proposals(*(field[keep] for field in self))


class Mtcnn:
    """The cascade. `__call__` takes photos of one size and returns their faces."""

    def __init__(self, pnet: PNet, rnet: RNet, onet: ONet) -> None:
        self.pnet, self.rnet, self.onet = pnet.eval(), rnet.eval(), onet.eval()

    @torch.inference_mode()
    def __call__(self, images: UInt8[np.ndarray, "b h w 3"], min_face: float = 24.0) -> Detections:
        """Detect faces whose boxes are at least about `min_face` pixels wide."""
        pyramids = [_pyramid(image) for image in images]
        proposals = self._propose(pyramids, min_face)
        proposals = proposals._replace(boxes=_square(proposals.boxes))

        score, shift = _in_chunks(
            self.rnet, _patches(pyramids, proposals.image, proposals.boxes, RNET_PX)
        )
        proposals = _refine(proposals, score, shift, RNET_SCORE)
        proposals = proposals.rows(_nms(proposals.image, proposals.boxes, proposals.scores, 0.7))
        proposals = proposals._replace(boxes=_square(proposals.boxes))

        patches = _patches(pyramids, proposals.image, proposals.boxes, ONET_PX)
        score, shift, _ = _in_chunks(self.onet, patches)
        proposals = _refine(proposals, score, shift, ONET_SCORE)
        proposals = proposals.rows(_nms(proposals.image, proposals.boxes, proposals.scores, 0.4))
        return Detections(*proposals, self._points(pyramids, proposals.image, proposals.boxes))

    @torch.inference_mode()
    def confirm(
        self, image: UInt8[np.ndarray, "h w 3"], boxes: Float32[np.ndarray, "n 4"]
    ) -> Float32[np.ndarray, " n"]:
        """The last network's score of boxes that came from elsewhere."""
        index = np.zeros(len(boxes), np.int64)
        return self.onet(_patches([_pyramid(image)], index, _square(boxes), ONET_PX))[0].numpy()

    def _points(
        self,
        pyramids: list[Pyramid],
        image: Int64[np.ndarray, " n"],
        boxes: Float32[np.ndarray, "n 4"],
    ) -> Float32[np.ndarray, "n 5 2"]:
        """Five points of the final boxes, averaged over the patch and its mirror image.

        Reading them again from the corrected box takes a tenth off their error.
        """
        boxes = _square(boxes)
        patches = _patches(pyramids, image, boxes, ONET_PX)
        points = _in_chunks(self.onet, torch.cat([patches, patches.flip(3)]))[2].numpy()
        plain, mirrored = points[: len(boxes)], points[len(boxes) :, [1, 0, 2, 4, 3]]
        mean = (plain + np.stack([1 - mirrored[..., 0], mirrored[..., 1]], 2)) / 2
        return boxes[:, None, :2] + mean * (boxes[:, None, 2:] - boxes[:, None, :2]) - 0.5

    def _propose(self, pyramids: list[Pyramid], min_face: float) -> Proposals:
        """Windows that look like faces to the first network, their sides corrected."""
        height, width = pyramids[0][0].shape[:2]
        levels = []
        scale = PNET_CELL / min_face
        while min(height, width) * scale >= PNET_CELL:
            size = (round(width * scale), round(height * scale))
            half = min(int(-np.log2(min(scale, 1.0))), len(pyramids[0]) - 1)
            small = [cv2.resize(p[half], size, interpolation=cv2.INTER_AREA) for p in pyramids]
            proposals = self._windows(np.stack(small))
            step = np.tile([width / size[0], height / size[1]], 2).astype(np.float32)
            levels.append(proposals._replace(boxes=proposals.boxes * step))
            scale *= PYRAMID_STEP
        if not levels:
            empty = np.zeros((0, 4), np.float32)
            return Proposals(np.zeros(0, np.int64), empty, empty[:, 0])
        proposals = Proposals(*(np.concatenate(field) for field in zip(*levels, strict=True)))
        level = np.repeat(np.arange(len(levels)), [len(each.scores) for each in levels])
        group = proposals.image * len(levels) + level
        proposals = proposals.rows(_nms(group, proposals.boxes, proposals.scores, 0.5))
        return proposals.rows(_nms(proposals.image, proposals.boxes, proposals.scores, 0.7))

    def _windows(self, level: UInt8[np.ndarray, "b h w 3"]) -> Proposals:
        """Windows of one pyramid level, in its pixels."""
        parts = []
        for top, band in _bands(level):
            score, shift = self.pnet(_as_input(band))
            b, y, x = torch.nonzero(score > PNET_SCORE, as_tuple=True)
            corner = torch.stack([x, y], 1).float() * PNET_STRIDE
            box = torch.cat([corner, corner + PNET_CELL], 1) + PNET_CELL * shift[b, :, y, x]
            box[:, 1::2] += top
            parts.append(Proposals(b.numpy(), box.numpy(), score[b, y, x].numpy()))
        proposals = Proposals(*(np.concatenate(field) for field in zip(*parts, strict=True)))
        if len(proposals.scores) <= MAX_PROPOSALS * len(level):
            return proposals
        return proposals.rows(np.argsort(-proposals.scores)[: MAX_PROPOSALS * len(level)])


@functools.cache
def load_mtcnn() -> Mtcnn:
    """The cascade with the weights of the `mtcnn` wheel (checked, see `weights`)."""
    nets = (PNet(), RNet(), ONet())
    for name, net in zip(("pnet", "rnet", "onet"), nets, strict=True):
        net.load_state_dict(read_weights(name))
        net.requires_grad_(False)
        net.to(memory_format=torch.channels_last)  # as photos lie  # pyright: ignore
    return Mtcnn(*nets)


def _bands(
    level: UInt8[np.ndarray, "b h w 3"],
) -> Iterator[tuple[int, UInt8[np.ndarray, "b h w 3"]]]:
    """First row and pixels of bands that together give the windows of the whole level.

    A window starts at an even row, so bands do; they overlap by what a window is larger.
    """
    count, height, width = level.shape[:3]
    rows = max(BAND_PIXELS // (count * width), 8 * PNET_CELL) // PNET_STRIDE * PNET_STRIDE
    overlap = PNET_CELL - PNET_STRIDE
    if height <= rows + overlap:
        yield 0, level
        return
    for top in range(0, height - overlap, rows):
        yield top, level[:, top : top + rows + overlap]


def _in_chunks(
    network: Callable[[Tensor], tuple[Tensor, ...]], patches: Float32[Tensor, "n 3 s s"]
) -> tuple[Tensor, ...]:
    """The network's outputs for any number of patches."""
    if len(patches) <= CHUNK_PATCHES:
        return network(patches)
    parts = [network(chunk) for chunk in patches.split(CHUNK_PATCHES)]
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))


def _as_input(images: UInt8[np.ndarray, "n h w 3"]) -> Float32[Tensor, "n 3 h w"]:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(127.5).mul_(1 / 128)


def _pyramid(image: UInt8[np.ndarray, "h w 3"]) -> Pyramid:
    """The photo and its successive halvings by area, down to about 48 px."""
    levels = [image]
    while min(levels[-1].shape[:2]) >= 96:
        height, width = levels[-1].shape[:2]
        half = (width // 2, height // 2)
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return levels


def _patches(
    pyramids: list[Pyramid],
    image: Int64[np.ndarray, " n"],
    boxes: Float32[np.ndarray, "n 4"],
    size: int,
) -> Float32[Tensor, "n 3 size size"]:
    """Boxes resampled to `size` squares, each from the halving where it is 1 to 2 times as wide."""
    out = np.empty((len(boxes), size, size, 3), np.uint8)
    wanted = np.floor(np.log2(np.maximum((boxes[:, 2] - boxes[:, 0]) / size, 1))).astype(int)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    for index in np.unique(image):
        levels = pyramids[index]
        level_of = np.minimum(wanted, len(levels) - 1)
        height, width = levels[0].shape[:2]
        for level in np.unique(level_of[image == index]):
            rows = np.flatnonzero((image == index) & (level_of == level))
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
    parts = [
        cv2.remap(
            photo,
            np.ascontiguousarray(x[i : i + REMAP_ROWS]),
            np.ascontiguousarray(y[i : i + REMAP_ROWS]),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=GREY,
        )
        for i in range(0, len(x), REMAP_ROWS)
    ]
    return np.concatenate(parts)


def _refine(proposals: Proposals, score: Tensor, shift: Tensor, min_score: float) -> Proposals:
    """The windows whose new score exceeds `min_score`, their sides moved as the network says."""
    scores = score.numpy()
    kept = scores > min_score
    size = (proposals.boxes[:, 2:] - proposals.boxes[:, :2])[kept]
    moved = proposals.boxes[kept] + shift.numpy()[kept] * np.concatenate([size, size], 1)
    return Proposals(proposals.image[kept], moved, scores[kept])


def _square(boxes: Float32[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
    """The square about each box's centre with its longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _nms(
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
