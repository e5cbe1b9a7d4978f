"""`mica-ext synth-parsing`: rendered heads with the region of every pixel, in LaPa's layout.

FOLDER/{train,val,test}/{images/NNNNNN.jpg, labels/NNNNNN.png, landmarks/NNNNNN.txt}
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from PIL import Image

from flame_assets.model.head_module import HeadParameters
from flame_assets.store import load_head
from mica_ext.data.synthetic.config import SynthParsingConfig
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.region_labels import LabelCanvas, base_regions, with_hair
from mica_ext.data.synthetic.sampling import sample_camera, sample_head
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from mica_ext.models.projection import project
from mica_ext.render.views import View
from pacofr.faces.landmarks68 import JAW, LEFT_EYE, NOSE_BRIDGE, NOSTRILS, RIGHT_EYE
from pacofr.utils.progress import track

JPEG_QUALITY = 92
SPLIT_SPACING = 1_000_000
"""Between the first numbers of two splits' faces."""


class LabelledFace(NamedTuple):
    """A picture, its regions and its landmarks."""

    image: UInt8[np.ndarray, "size size 3"]
    labels: UInt8[np.ndarray, "size size"]
    landmarks_px: Float32[np.ndarray, "68 2"]


class ParsingFaces(SyntheticFaces):
    """Rendered heads whose regions are known; stateless."""

    def labelled(self, index: int) -> LabelledFace:
        """Face number `index`."""
        generator = np.random.default_rng([self.seed, index])
        with torch.inference_mode():
            neutral = self.decoder(HeadParameters.zeros(self.head))
            mesh = self.decoder(sample_head(generator, self.head))
            camera = sample_camera(generator, mesh.landmarks[0].numpy(), self.size)
            points = project(camera, mesh.landmarks)[0].numpy()
        appearance = self.appearances.sample(generator)
        regions = base_regions(self.head, self.appearances, neutral.landmarks[0].numpy())
        canvas = LabelCanvas(self.size, with_hair(regions, appearance))
        view, vertices = View.from_camera(camera), mesh.vertices[0].numpy()
        image = self.paint(generator, vertices, points, view, appearance, canvas)
        return LabelledFace(image, canvas.labels, points)


def landmarks106(points: Shaped[np.ndarray, "68 2"]) -> Float[np.ndarray, "106 2"]:
    """LaPa's 106 landmarks from iBUG's 68; those that these do not have lie between two of them.

    Exact are every second point of the contour, the bridge and tip of the nose, the mouth and, as
    means of the eyelids, the pupils.
    """
    right, left = points[RIGHT_EYE], points[LEFT_EYE]
    brows = [_resampled(points[part], 9) for part in (slice(17, 22), slice(22, 27))]
    eyes = [_resampled(np.concatenate([eye, eye[:1]]), 10)[:9] for eye in (right, left)]
    rows = [
        _resampled(points[JAW], 33),
        *brows,
        points[NOSE_BRIDGE],
        _resampled(points[NOSTRILS], 11),
        *eyes,
        points[48:68],
        right.mean(axis=0, keepdims=True),
        left.mean(axis=0, keepdims=True),
    ]
    return np.concatenate(rows)


def _resampled(line: Shaped[np.ndarray, "n 2"], count: int) -> Float[np.ndarray, "count 2"]:
    """`count` points on a polyline, evenly in its own count."""
    at = np.linspace(0, len(line) - 1, count)
    return np.stack([np.interp(at, np.arange(len(line)), axis) for axis in line.T], axis=1)


def synth_parsing(config: SynthParsingConfig) -> None:
    """Write the data set.

    Raises:
        UserError: the folder is not empty, or the head has no such regions.
    """
    root = config.folder
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root}: expected a new or empty folder; choose another or remove it")
    faces = ParsingFaces(load_head(config.head), seed=config.seed, size=config.size)
    counts = {"train": config.train, "val": config.val, "test": config.test}
    for number, (split, count) in enumerate(counts.items()):
        for kind in ("images", "labels", "landmarks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for index in track(range(count), f"{split} heads"):
            face = faces.labelled(number * SPLIT_SPACING + index)
            _write_face(root / split, f"{index:06d}", face)
    print(
        f"{sum(counts.values())} heads in {root}; now run: pacofr task train parsing --data"
        f" synthetic:{root} --encoder ENCODER --out RUN"
    )


def _write_face(folder: Path, name: str, face: LabelledFace) -> None:
    write_bytes_atomic(folder / f"images/{name}.jpg", _encoded(face.image, "JPEG"))
    write_bytes_atomic(folder / f"labels/{name}.png", _encoded(face.labels, "PNG"))
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in landmarks106(face.landmarks_px))
    write_bytes_atomic(folder / f"landmarks/{name}.txt", f"106\n{rows}\n".encode())


def _encoded(pixels: UInt8[np.ndarray, "size size *c"], kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=JPEG_QUALITY)
    return stream.getvalue()
