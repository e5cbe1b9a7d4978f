"""Shards of made-up crops, and annotated photos of made-up faces."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pacofr.data.shard_index import write_index
from pacofr.data.shard_writer import TarWriter
from pacofr.faces.landmarks68 import write_pts


def write_shards(folder: Path, crops: int = 12) -> Path:
    """One shard of smooth random crops; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    writer = TarWriter(folder / "shard-000000.tar")
    for number in range(crops):
        crop = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (256, 256))
        writer.add(f"{number:06d}", cv2.imencode(".jpg", crop)[1].tobytes(), {})
    write_index(folder, [writer.close()], [writer.locations], canvas=256, face=200)
    return folder


def face_points() -> np.ndarray:
    """68 points in the iBUG order of an upright drawn face, 200 px wide, at the origin."""
    points = np.zeros((68, 2))
    points[:17] = [(100 - 90 * np.cos(t), 90 + 100 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
    points[17:27] = [(20 + 17 * i, 40) for i in range(10)]
    points[27:36] = [(100, 60 + 10 * i) for i in range(4)] + [(80 + 10 * i, 110) for i in range(5)]
    for start, x in ((36, 55), (42, 145)):
        ring = np.linspace(-np.pi, np.pi, 7)[:6]
        points[start : start + 6] = [(x + 15 * np.cos(t), 65 + 7 * np.sin(t)) for t in ring]
    ring = np.linspace(-np.pi, np.pi, 13)[:12]
    points[48:60] = [(100 + 30 * np.cos(t), 140 + 12 * np.sin(t)) for t in ring]
    points[60:68] = [(100 + 20 * np.cos(t), 140 + 5 * np.sin(t)) for t in ring[:8]]
    return points


def write_annotated_photos(folder: Path, count: int, seed: int) -> None:
    """Grey photos with a dark dot on every landmark; the faces differ in place, size and shape."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        points = face_points() * rng.uniform(0.9, 1.3) + rng.uniform(20, 60, size=2)
        points[48:] += rng.uniform(-12, 12, size=2)
        photo = np.full((340, 340, 3), 160, np.uint8)
        for x, y in np.rint(points).astype(int):
            photo[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = (30, 60, 90)
        Image.fromarray(photo).save(folder / f"{number:03d}.png")
        write_pts(folder / f"{number:03d}.pts", points)
