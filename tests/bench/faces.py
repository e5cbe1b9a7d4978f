"""Costs of detection, curation and loading in CPU time, and what they spend it on.

    python tests/bench/faces.py PHOTOS...           folders of images, or tar shards

CPU time, not wall time, so that a busy machine changes it little. A photo's budget for 100 kept
faces a second on two cores is 20 ms. What curation costs beside busy cores: `threads.py`.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.sources.units import find_units, read_photos
from pacofr.data.curation.stats import Counter
from pacofr.data.curation.unit_result import parts_folder
from pacofr.data.curation.worker import UnitJob, curate_unit
from pacofr.data.shard_index import write_index
from pacofr.faces.align import CANVAS_PX, FACE_PX, ffhq_crop
from pacofr.faces.detect import detect, detect_batch
from pacofr.images import decode_image
from pacofr.pretraining.config import DataConfig
from pacofr.pretraining.data import ShardCrops
from pacofr.utils.threads import set_threads

BATCH = 32


class Loading(NamedTuple):
    """Reading a crop of a shard."""

    side: int
    """Of the crop that is asked for [px]."""
    load: float
    """CPU [ms]."""
    decode: float
    """CPU [ms] of the JPEG decoding alone, at full size."""


class Costs(NamedTuple):
    """CPU [ms] per photo, on one thread."""

    photos: int
    kept: int
    """Faces, at most one of each photo."""
    decode: float
    detect_single: float
    detect_batched: float
    crop: float
    """Of a face to 200 px in 256."""
    curate: float
    """All in all."""
    loading: tuple[Loading, ...]

    @property
    def kept_per_second(self) -> float:
        """Kept faces a CPU second of curation."""
        return 1e3 * self.kept / (self.curate * self.photos)


def cpu_ms(work: Callable[[], object], count: int, repeat: int) -> float:
    """Least CPU milliseconds per item of `repeat` runs."""
    took = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return 1e3 * min(took) / count


def measure(photos: list[Path], count: int, repeat: int = 3) -> Costs:
    """What one thread spends on the first photos of the first unit of these sources."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        config = CurateConfig(sources=tuple(photos), out=out)
        unit = find_units(config.sources).units[0]
        wanted = np.arange(count)
        raw = [photo.data for photo in read_photos(unit, wanted, Counter(), with_ids=False)]
        images = [decode_image(data, "photo") for data in raw]
        detect(images[0])  # loads the networks

        def batched() -> list:
            starts = range(0, len(images), BATCH)
            return [
                faces
                for i in starts
                for faces in detect_batch(images[i : i + BATCH], min_face=42.0)
            ]

        pairs = [(i, f[0].points) for i, f in zip(images, batched(), strict=True) if f]
        parts_folder(out).mkdir()
        job = UnitJob(unit, "bench", wanted, None, None)
        done = curate_unit(job, config)
        assert done.shard is not None
        write_index(out, [done.shard], [done.locations], canvas=CANVAS_PX, face=FACE_PX)
        return Costs(
            photos=len(images),
            kept=len(done.locations),
            decode=cpu_ms(lambda: [decode_image(data, "photo") for data in raw], len(raw), repeat),
            detect_single=cpu_ms(lambda: [detect(image) for image in images], len(images), 1),
            detect_batched=cpu_ms(batched, len(images), repeat),
            crop=cpu_ms(lambda: [ffhq_crop(*pair) for pair in pairs], len(pairs), repeat),
            curate=cpu_ms(lambda: curate_unit(job, config), len(images), max(repeat - 1, 1)),
            loading=tuple(_loading(out, side, repeat) for side in (224, 112)),
        )


def _loading(shards: Path, side: int, repeat: int) -> Loading:
    crops = ShardCrops(shards, side=side, config=DataConfig(), seed=0)
    positions = np.arange(len(crops))

    def decode() -> None:
        for position in positions:
            cv2.imdecode(np.frombuffer(crops.dataset.jpeg(int(position)), np.uint8), 1)

    load = cpu_ms(lambda: crops.read(0, positions), len(crops), repeat)
    return Loading(side, load, cpu_ms(decode, len(crops), repeat))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=192)
    arguments = parser.parse_args()
    set_threads(1)
    costs = measure(arguments.photos, arguments.count)
    parts = costs.decode + costs.detect_batched + costs.crop
    batches = costs.detect_batched / costs.detect_single
    print(f"{costs.photos} photos; ms of CPU each")
    print(f"  decode                {costs.decode:7.2f}")
    print(f"  detect, one by one    {costs.detect_single:7.2f}")
    print(f"  detect, in batches    {costs.detect_batched:7.2f}   {batches:.2f} of one by one")
    print(f"  crop 200 in 256       {costs.crop:7.2f}")
    print(
        f"  curate, all in all    {costs.curate:7.2f}   {costs.curate / parts:.2f} of its three"
        f" parts; {costs.kept_per_second:.0f} kept faces a CPU second"
    )
    for side, load, decode in costs.loading:
        print(
            f"  load a crop at {side}    {load:7.2f}   {load / decode:.2f} of decoding it; "
            f"{1e3 / load:.0f} a CPU second"
        )


if __name__ == "__main__":
    main()
