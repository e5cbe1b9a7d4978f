"""Folders of `mica-ext samples` with random labels and empty pictures, for a tiny head."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from helpers.mica_toy import landmark_head

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.branch.shards import Part, write_indices, write_part
from mica_ext.data.branch.splits import Split
from mica_ext.data.skipped import SkipCounter
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from pacofr.faces.landmarks68 import five_points

CONFIDENCE = 0.75
sample_head = landmark_head
"""Its landmarks are those of a schematic face, which crops are cut by."""


def sample_folder(
    out: Path,
    head: HeadModel,
    *,
    train: int,
    val: int,
    labelled: bool = True,
    source: str = "coma",
) -> Path:
    """Write so many samples; not `labelled`: their points alone."""
    splits: tuple[tuple[Split, int], ...] = (("train", train), ("val", val))
    parts = [
        Part(split, split, partial(_samples, head, count, labelled))
        for split, count in splits
        if count
    ]
    counts = write_indices(out, [write_part(out, n, part) for n, part in enumerate(parts)])
    about = {"head": head.name, "head_version": head.version, "samples": counts}
    about["source"] = source
    (out / "samples.json").write_text(json.dumps(about))
    return out


def _samples(
    head: HeadModel, count: int, labelled: bool, skipped: SkipCounter
) -> Iterator[BranchSample]:
    decoder, rng = HeadDecoder(head), np.random.default_rng(count)
    for number in range(count):
        sizes = (head.shape_count, head.expression_count, 3, 3, 3, 3, 3)
        parts = [rng.normal(0, 0.1, size).astype(np.float32) for size in sizes]
        parts[3] = np.zeros(3, np.float32)
        parameters = HeadParameters(*(torch.from_numpy(part)[None] for part in parts))
        focal, centre = np.float32([1400.0]), np.float32([159.5, 159.5])
        translation = np.float32([*rng.normal(0, 0.01, 2), -1.5])
        camera = Camera(*(torch.from_numpy(v) for v in (focal, centre[None], translation[None])))
        with torch.no_grad():
            mesh = decoder(parameters)
            seen = project(camera, mesh.landmarks)[0].numpy()
        points = rng.uniform(100, 220, (478, 2)).astype(np.float32)
        labels = dict(zip(HeadParameters._fields, parts, strict=True))
        yield BranchSample(
            picture=rng.integers(0, 256, (320, 320, 3), np.uint8),
            five_points=five_points(seen.astype(np.float64)).astype(np.float32),
            subject=f"person {number}",
            source=f"picture {number}",
            confidence=CONFIDENCE,
            points_px=points,
            point_confidence=rng.uniform(0.5, 1, 478).astype(np.float32),
            **(
                labels | {"focal_px": focal, "centre_px": centre, "translation": translation}
                if labelled
                else {}
            ),
        )
