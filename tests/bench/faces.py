"""Costs of detection, curation and loading in CPU time of one thread, and what they spend it on.

    python tests/bench/faces.py PHOTOS...        folders of images, or tar shards

CPU time, not wall time, so that a busy machine changes it little. A photo's budget for 100 kept
faces a second on two cores is 20 ms.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from pacofr.data.curation import worker as curate_unit
from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.sources import find_units, photos
from pacofr.data.shard_index import ShardEntry, write_index
from pacofr.faces.align import ffhq_crop
from pacofr.faces.detect import detect, detect_batch
from pacofr.images import decode_image
from pacofr.pretraining.config import DataConfig
from pacofr.pretraining.data import ShardCrops


def cpu_ms(work: Callable[[], object], count: int, repeat: int = 3) -> float:
    """Least CPU milliseconds per item of `repeat` runs."""
    took = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return 1e3 * min(took) / count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=192)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        config = CurateConfig(sources=tuple(arguments.photos), out=out)
        unit = find_units(config.sources)[0]
        wanted = np.arange(arguments.count)
        raw = [photo.data for photo in photos(unit, wanted, want_ids=False)]
        images = [decode_image(data, "photo") for data in raw]
        detect(images[0])  # loads the networks

        decode = cpu_ms(lambda: [decode_image(data, "photo") for data in raw], len(raw))
        single = cpu_ms(lambda: [detect(image) for image in images], len(images), 1)

        def batched() -> list:
            starts = range(0, len(images), 32)
            return [f for i in starts for f in detect_batch(images[i : i + 32], min_face=42.0)]

        many = cpu_ms(batched, len(images))
        pairs = [(i, f[0].points) for i, f in zip(images, batched(), strict=True) if f]
        crop = cpu_ms(lambda: [ffhq_crop(*pair) for pair in pairs], len(pairs))

        curate_unit.parts_folder(out).mkdir()
        work = curate_unit.Work(unit, "bench", wanted, None, None)
        whole = cpu_ms(lambda: curate_unit.curate_unit(work, config), len(images), 2)
        done = curate_unit.curate_unit(work, config)
        entry, places = ShardEntry(**done["shard"]), done["places"]
        write_index(out, [entry], [places], canvas=256, face=200)
        height, width = images[0].shape[:2]
        print(f"{len(images)} photos, the first {width}x{height}; ms of CPU each")
        print(f"  decode                {decode:7.2f}")
        print(f"  detect, one by one    {single:7.2f}")
        print(f"  detect, in batches    {many:7.2f}   {many / single:.2f} of one by one")
        print(f"  crop 200 in 256       {crop:7.2f}")
        kept = len(places)
        rate = 1e3 * kept / (whole * len(images))
        print(f"  curate, all in all    {whole:7.2f}   {whole / (decode + many + crop):.2f} of its "
              f"three parts; {rate:.0f} kept faces a CPU second")  # fmt: skip
        for side in (224, 112):
            crops = ShardCrops(out, side=side, config=DataConfig(), seed=0)
            positions = np.arange(len(crops))
            load = cpu_ms(lambda: crops.read(0, positions), len(crops))  # noqa: B023
            bare = cpu_ms(
                lambda: [
                    cv2.imdecode(np.frombuffer(crops.dataset.jpeg(i), np.uint8), 1)  # noqa: B023
                    for i in range(len(crops))  # noqa: B023
                ],
                len(crops),
            )
            print(f"  load a crop at {side}    {load:7.2f}   {load / bare:.2f} of decoding it; "
                  f"{1e3 / load:.0f} a CPU second")  # fmt: skip


if __name__ == "__main__":
    main()
