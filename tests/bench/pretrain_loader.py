"""Loader of pre-training: images per second of one core, against the bare JPEG decode.

    python tests/bench/pretrain_loader.py [SHARDS]

Counts processor time, so a busy machine does not matter. Without SHARDS it writes a temporary
folder of synthetic crops (smooth colour fields with some noise, JPEG quality 95).
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from pacofr.data.shard_index import write_index
from pacofr.data.shard_writer import TarWriter
from pacofr.engine.batches.sampling import RankBatch
from pacofr.pretraining.config import DataConfig
from pacofr.pretraining.data import ShardCrops
from pacofr.pretraining.presets import preset
from pacofr.pretraining.train import MaskedCropReader

COUNT = 512


def synthetic(folder: Path) -> Path:
    """Shards that look like curated ones to a loader."""
    rng = np.random.default_rng(0)
    writer = TarWriter(folder / "shard-000000.tar")
    for number in range(COUNT):
        field = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = cv2.resize(field, (256, 256), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        image = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        writer.add(f"{number:06d}", jpeg.tobytes(), {})
    places = [list(writer.locations)]
    write_index(folder, [writer.close()], places, canvas=256, face=200)
    return folder


def per_second(work: Callable[[], None], count: int, repeats: int = 3) -> float:
    """Images per second of processor time, best of some repeats."""
    best = 0.0
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = max(best, count / (time.process_time() - began))
    return best


def main() -> None:
    """Print the rates."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else synthetic(Path(temporary))
        measure(folder)


def measure(folder: Path) -> None:
    """Bare decode, then each preset's loader."""
    probe = ShardCrops(folder, side=224, config=DataConfig(), seed=0)
    positions = np.random.default_rng(0).permutation(len(probe))[:COUNT].astype(np.int64)
    jpegs = [np.frombuffer(probe.dataset.jpeg(int(p)), np.uint8) for p in positions]
    bare = per_second(lambda: [cv2.imdecode(j, cv2.IMREAD_COLOR) for j in jpegs][:0], len(jpegs))
    size = sum(map(len, jpegs)) / len(jpegs) / 1024
    print(f"bare JPEG decode, 256 px, {size:.0f} kB each: {bare:.0f} images/s of one core")
    for name in ("paper", "micro"):
        config = preset(name)
        side = config.model.encoder.image_size
        crops = ShardCrops(folder, side=side, config=config.data, seed=0)
        read = MaskedCropReader(crops, config)

        def batches(read: MaskedCropReader = read) -> None:
            for start in range(0, len(positions), 64):
                index = positions[start : start + 64]
                read(RankBatch(0 * index, 0 * index, index))

        rate = per_second(batches, len(positions))
        print(f"{name}: crops of {side} px and their masks: {rate:.0f} ({rate / bare:.2f} of bare)")


if __name__ == "__main__":
    main()
