"""478 points of the largest face of a photo, without torch: python photo_to_points.py PHOTO

Needs NumPy, Pillow and onnxruntime. Writes PHOTO.points.txt, in the photo's pixels.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingImports]
from PIL import Image

here, names = Path(__file__).parent, ("pnet", "rnet", "onet", "points")
nets = {name: onnxruntime.InferenceSession(here / f"{name}.onnx") for name in names}
whole = Image.open(sys.argv[1]).convert("RGB")
photo = whole.copy()
photo.thumbnail((640, 640))


def run(name: str, images: list) -> list:
    """The outputs of a network for RGB images of 0 to 255."""
    pixels = np.stack([np.moveaxis(np.asarray(image, np.float32), 2, 0) for image in images])
    pixels = pixels / 255 if name == "points" else (pixels - 127.5) / 128
    return list(nets[name].run(None, {nets[name].get_inputs()[0].name: pixels}))


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> tuple:
    """Boxes that overlap no better one."""
    order, kept = np.argsort(-scores), []
    while len(order):
        kept.append(order[0])
        a, b = boxes[order[0]], boxes[order[1:]]
        both = (np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])).clip(0).prod(1)
        union = (a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(1) - both
        order = order[1:][both / union < overlap]
    return boxes[kept], scores[kept]


def refine(name: str, boxes: np.ndarray, size: int) -> tuple:
    """The boxes that a network confirms, corrected, their scores, and its points."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    corner, side = (boxes[:, 2:] + boxes[:, :2]) / 2 - half, 2 * half
    squares = np.concatenate([corner, corner + side], 1)
    patches = [photo.transform((size, size), Image.Transform.EXTENT, tuple(s), 2) for s in squares]
    score, move, *points = run(name, patches)
    sure = score > 0.7
    boxes = (boxes + move * np.tile(boxes[:, 2:] - boxes[:, :2], (1, 2)))[sure]
    return boxes, score[sure], [(corner[:, None] + side[:, None] * p)[sure] for p in points]


found, scale = [], 0.5
while min(photo.size) * scale >= 12:
    small = photo.resize([round(length * scale) for length in photo.size], Image.Resampling.BOX)
    score, move = (output[0] for output in run("pnet", [small]))
    y, x = np.nonzero(score > 0.6)
    corner = 2 * np.stack([x, y], 1)
    boxes = np.concatenate([corner, corner + 12], 1) + 12 * move[:, y, x].T
    found.append(suppress(boxes / scale, score[y, x], 0.5))
    scale *= 0.709
boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
if len(boxes):
    boxes, scores, _ = refine("rnet", suppress(boxes, scores, 0.7)[0], 24)
if len(boxes):
    boxes, scores, found = refine("onet", suppress(boxes, scores, 0.7)[0], 48)
if not len(boxes):
    sys.exit(f"{sys.argv[1]}: no face found")
left, right, _, *mouth = found[0][(boxes[:, 2] - boxes[:, 0]).argmax()] * whole.width / photo.width
across, eyes = right - left, (left + right) / 2
down = np.mean(mouth, 0) - eyes
side = 1.3 * 3.7 / 1.5 * max(np.hypot(*across), np.hypot(*down))  # of the square around the face
x, y = across + [down[1], -down[0]]  # to the right in the face
axes = side / 224 * np.array([[x, -y], [y, x]]) / np.hypot(x, y)
corner = eyes + 0.55 * down - axes @ [112, 112]
matrix = np.column_stack([axes, corner]).ravel()
crop = whole.transform((224, 224), Image.Transform.AFFINE, tuple(matrix), Image.Resampling.BILINEAR)
points, visibility, error, face = run("points", [crop])
points = (points[0] + 0.5) @ axes.T + corner - 0.5  # pixels count from their centres
np.savetxt(f"{sys.argv[1]}.points.txt", points, "%.2f")
print(f"{len(points)} points, probability of a face {face[0]:.2f}")
