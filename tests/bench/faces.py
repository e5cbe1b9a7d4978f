"""Costs of detection, curation and loading in CPU time, and what they spend it on.

    python tests/bench/faces.py PHOTOS...           folders of images, or tar shards
    python tests/bench/faces.py PHOTOS... --busy    curation with every core busy beside it

CPU time, not wall time, so that a busy machine changes it little. A photo's budget for 100 kept
faces a second on two cores is 20 ms. `--busy` compares `pacofr curate` as it is called by default
with the same under OMP_NUM_THREADS=1: the ratio of their CPU times should not exceed 1.3.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SPIN = "while True: pass"


def cpu_ms(work: Callable[[], object], count: int, repeat: int = 3) -> float:
    """Least CPU milliseconds per item of `repeat` runs."""
    took = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return 1e3 * min(took) / count


def costs(photos: list[Path], count: int) -> None:
    """Print what one thread spends on a photo."""
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

    set_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        config = CurateConfig(sources=tuple(photos), out=out)
        unit = find_units(config.sources).units[0]
        wanted = np.arange(count)
        raw = [photo.data for photo in read_photos(unit, wanted, Counter(), with_ids=False)]
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

        parts_folder(out).mkdir()
        job = UnitJob(unit, "bench", wanted, None, None)
        whole = cpu_ms(lambda: curate_unit(job, config), len(images), 2)
        done = curate_unit(job, config)
        assert done.shard is not None
        write_index(out, [done.shard], [done.locations], canvas=CANVAS_PX, face=FACE_PX)
        height, width = images[0].shape[:2]
        print(f"{len(images)} photos, the first {width}x{height}; ms of CPU each")
        print(f"  decode                {decode:7.2f}")
        print(f"  detect, one by one    {single:7.2f}")
        print(f"  detect, in batches    {many:7.2f}   {many / single:.2f} of one by one")
        print(f"  crop 200 in 256       {crop:7.2f}")
        rate = 1e3 * len(done.locations) / (whole * len(images))
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


def curation_seconds(photos: list[Path], count: int, environment: dict[str, str]) -> float:
    """CPU seconds of `pacofr curate` and its workers."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pacofr", "curate", *map(str, photos), "--out", scratch]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*command, "--sample", str(count)], env=environment, check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def busy(photos: list[Path], count: int) -> None:
    """Print curation's CPU time with every core busy beside it."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "OPENBLAS_", "MKL_"))}
    spinners = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(os.cpu_count() or 1)]
    try:
        took = {
            name: [curation_seconds(photos, count, {**plain, **more}) for _ in range(2)]
            for name, more in {"default": {}, "one thread": {"OMP_NUM_THREADS": "1"}}.items()
        }
    finally:
        for spinner in spinners:
            spinner.kill()
    for name, seconds in took.items():
        print(f"  curate {count} photos, {name:10}  {min(seconds):6.1f} s of CPU")
    print(f"  ratio {min(took['default']) / min(took['one thread']):.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=192)
    parser.add_argument("--busy", action="store_true")
    arguments = parser.parse_args()
    (busy if arguments.busy else costs)(arguments.photos, arguments.count)


if __name__ == "__main__":
    main()
