"""Whole steps as one graph each: photo to faces, and photo with a face to its 478 points.

What the product does in NumPy around the networks is torch here, with fixed sizes and counts, so
that users of the graphs have nothing to write. Differences: the photo's pyramid is made by linear
interpolation, windows that overlap a better one are dropped in one step instead of one after
another (Fast NMS, Bolya et al. 2019), and crops are averages of `SUPERSAMPLED` squared samples.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mica_ext.landmarks.student.network import INPUT, SIDE_PER_BOX, LandmarkNetwork
from pacofr.faces.face_mesh.region import (
    BOX_PER_FIVE,
    MIDDLE_PER_FIVE,
    SIDE_MIN_PX,
)
from pacofr.faces.mtcnn.cascade import (
    ONET_PX,
    ONET_SCORE,
    PNET_CELL,
    PNET_SCORE,
    PNET_STRIDE,
    PYRAMID_STEP,
    RNET_PX,
    RNET_SCORE,
    Mtcnn,
)

PHOTO_PX = 640
"""Side of the square that the detector's graph takes."""
MIN_FACE_PX = 24.0
PROPOSALS, REFINED, FACES = 1024, 128, 32
"""Best windows that go on from each network."""
SUPERSAMPLED = 3
"""Samples per pixel of the points' crop and axis."""


class FacesGraph(nn.Module):
    """MTCNN's cascade with its pyramid and its suppression, best faces first."""

    def __init__(self, cascade: Mtcnn) -> None:
        super().__init__()
        self.pnet, self.rnet, self.onet = cascade.pnet, cascade.rnet, cascade.onet
        self.sides, scale = [], PNET_CELL / MIN_FACE_PX
        while PHOTO_PX * scale >= PNET_CELL:
            self.sides.append(round(PHOTO_PX * scale))
            scale *= PYRAMID_STEP

    def forward(
        self, photo: UInt8[Tensor, "640 640 3"]
    ) -> tuple[Float[Tensor, "32 4"], Float[Tensor, "32"], Float[Tensor, "32 5 2"]]:
        """Boxes, scores (0 for rows without a face) and five points of each."""
        image = (photo.permute(2, 0, 1)[None].float() - 127.5) / 128
        halvings = [image]
        while halvings[-1].shape[-1] > 2 * ONET_PX:
            halvings.append(F.avg_pool2d(halvings[-1], 2))
        levels = [self._windows(image, side) for side in self.sides]
        boxes, scores = (torch.cat(parts) for parts in zip(*levels, strict=True))
        boxes, scores = _best(boxes, scores, PNET_SCORE, PROPOSALS, 0.7)
        score, shift = self.rnet(_patches(halvings, _square(boxes), RNET_PX))
        boxes, scores = _moved(_square(boxes), shift), score * (scores > 0)
        boxes, scores = _best(boxes, scores, RNET_SCORE, REFINED, 0.7)
        score, shift, _ = self.onet(_patches(halvings, _square(boxes), ONET_PX))
        boxes, scores = _moved(_square(boxes), shift), score * (scores > 0)
        boxes, scores = _best(boxes, scores, ONET_SCORE, FACES, 0.4)
        return boxes, scores, self._five_points(halvings, _square(boxes))

    def _windows(self, image: Tensor, side: int) -> tuple[Tensor, Tensor]:
        small = F.interpolate(image, (side, side), mode="bilinear", antialias=True)
        score, shift = self.pnet(small)
        rows, columns = score.shape[1:]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        corner = PNET_STRIDE * torch.stack([x, y], -1).reshape(-1, 2).float()
        boxes = torch.cat([corner, corner + PNET_CELL], 1)
        boxes = boxes + PNET_CELL * shift[0].flatten(1).T
        return boxes * (PHOTO_PX / side), score.flatten()

    def _five_points(self, halvings: list[Tensor], squares: Tensor) -> Tensor:
        patches = _patches(halvings, squares, ONET_PX)
        points = self.onet(torch.cat([patches, patches.flip(3)]))[2]
        mirrored = points[FACES:, [1, 0, 2, 4, 3]]
        other = torch.stack([1 - mirrored[..., 0], mirrored[..., 1]], 2)
        mean = (points[:FACES] + other) / 2
        return squares[:, None, :2] + mean * (squares[:, None, 2:] - squares[:, None, :2]) - 0.5


class PhotoPointsGraph(nn.Module):
    """Five points of a face in a photo of any size to its 478 points, in the photo's pixels."""

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, photo: UInt8[Tensor, "H W 3"], five: Float[Tensor, "5 2"]
    ) -> tuple[Float[Tensor, "478 2"], Float[Tensor, "7"], Float[Tensor, "7"], Float[Tensor, ""]]:
        """Points, visibility and error of regions, probability of a face."""
        image = photo.permute(2, 0, 1)[None].float() / 255
        eyes, mouth = five[:2].mean(0), five[3:].mean(0)
        across, down = five[1] - five[0], mouth - eyes
        box = BOX_PER_FIVE * torch.maximum(across.norm(), down.norm())
        step = SIDE_PER_BOX * box.clamp(min=SIDE_MIN_PX) / INPUT
        centre, axes = eyes + MIDDLE_PER_FIVE * down, step * _upright(across, down)
        output = self.network(_crop(image, centre, axes))
        return (
            centre + output.points[0] * (INPUT / 2) @ axes,
            output.visibility_logits[0].sigmoid(),
            output.log_errors[0].exp(),
            output.face_logit[0].sigmoid(),
        )


def _upright(across: Tensor, down: Tensor) -> Float[Tensor, "2 2"]:
    """Unit vectors to the right and down in the face, as rows."""
    right = across + torch.stack([down[1], -down[0]])
    right = right / right.norm().clamp(min=1e-6)
    return torch.stack([right, torch.stack([-right[1], right[0]])])


def _crop(image: Tensor, centre: Tensor, axes: Float[Tensor, "2 2"]) -> Tensor:
    """A square about `centre` with these pixel steps; the photo's edge goes on outside it."""
    count = INPUT * SUPERSAMPLED
    steps = (torch.arange(count) + 0.5) / SUPERSAMPLED - INPUT / 2
    at = centre + steps[:, None, None] * axes[1] + steps[None, :, None] * axes[0]
    size = torch.tensor([image.shape[3], image.shape[2]]).to(at)
    grid = (2 * at + 1) / size - 1
    sampled = F.grid_sample(image, grid[None], padding_mode="border", align_corners=False)
    return F.avg_pool2d(sampled, SUPERSAMPLED)


def _patches(halvings: list[Tensor], squares: Float[Tensor, "n 4"], size: int) -> Tensor:
    """Squares, each from the halving where it is one to two times as wide as the patch."""
    count = len(squares)
    sides = squares[:, 2] - squares[:, 0]
    wanted = (sides / size).clamp(min=1).log2().floor().clamp(max=len(halvings) - 1)
    steps = (torch.arange(size) + 0.5) / size
    x = squares[:, :1] + sides[:, None] * steps
    y = squares[:, 1:2] + sides[:, None] * steps
    shape = (count, size, size)
    at = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], -1)
    grid = (at * (2 / PHOTO_PX) - 1).reshape(1, count * size, size, 2)
    patches = torch.zeros(count, 3, size, size)
    for level, image in enumerate(halvings):
        drawn = F.grid_sample(image, grid, align_corners=False)  # zero, grey, outside the photo
        drawn = drawn.reshape(3, count, size, size).transpose(0, 1)
        patches = torch.where((wanted == level)[:, None, None, None], drawn, patches)
    return patches


def _square(boxes: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], 1)


def _moved(boxes: Float[Tensor, "n 4"], shift: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    return boxes + shift * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _best(
    boxes: Tensor, scores: Tensor, least: float, count: int, overlap: float
) -> tuple[Float[Tensor, "count 4"], Float[Tensor, "count"]]:
    """The `count` boxes of the best scores, best first; zeros for those below `least`, or that
    overlap a better one."""
    scores, order = scores.topk(min(count, len(scores)))
    boxes = boxes[order]
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    shared = both / (area[:, None] + area[None] - both).clamp(min=1e-6)
    worse = torch.ones_like(shared).tril(-1)  # rows against the better ones before them
    kept = ((shared * worse).amax(1) < overlap) & (scores > least)
    scores, order = (scores * kept).topk(len(scores))
    return boxes[order] * (scores > 0)[:, None], scores
