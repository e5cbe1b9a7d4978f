"""478 points of the largest face of a photo, without torch: python photo_to_points.py PHOTO

Needs NumPy, Pillow and onnxruntime. Writes PHOTO.points.txt, in the photo's pixels.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingImports]
from PIL import Image

SIDE = 640
here, path = Path(__file__).parent, sys.argv[1]
faces, photo_points = (
    onnxruntime.InferenceSession(here / f"{name}.onnx") for name in ("faces", "photo_points")
)
photo = Image.open(path).convert("RGB")
scale = SIDE / max(photo.size)
square = Image.new("RGB", (SIDE, SIDE), (127, 127, 127))
square.paste(photo.resize([max(round(side * scale), 1) for side in photo.size]))
boxes, scores, five = map(np.asarray, faces.run(None, {"photo": np.array(square)}))
sizes = (boxes[:, 2] - boxes[:, 0]) * (scores > 0.9)
if not sizes.any():
    sys.exit(f"{path}: no face found")
given = {"photo": np.array(photo), "five": five[sizes.argmax()] / scale}
points, visibility, error, face = map(np.asarray, photo_points.run(None, given))
np.savetxt(f"{path}.points.txt", points, "%.2f")
print(f"{len(points)} points, probability of a face {face:.2f}")
