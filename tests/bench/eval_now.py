"""How fast eval-now is against the official evaluator's recorded time, and whether it agrees.

    OMP_NUM_THREADS=1 python tests/bench/eval_now.py [--passes 3]

Needs ../shared/reference/now_cases. One process, one thread. The official seconds were taken on
another machine; both are divided by the same yardstick (a k-d tree of 200,000 points, built and
queried), which is measured here between the passes, so that a busy machine slows both alike.
"cold" reads and crops the scan for every image, as the official evaluator does; "warm" reads it
once per subject, as eval-now does (two images per subject here, 17 in the validation set).
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # this file bears the package's name

import numpy as np
from scipy.spatial import cKDTree

from eval_now.data.dataset import NowDataset
from eval_now.data.predictions import UNIT_MM, find_prediction
from eval_now.scoring.score import ScoredImage, SubjectTask, score_subject

CASES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "now_cases"


def yardstick() -> float:
    """CPU seconds of the recorded machine's own measure."""
    points, queries = (np.random.RandomState(seed).rand(200000, 3) for seed in (0, 1))  # noqa: NPY002
    start = time.process_time()
    cKDTree(points).query(queries)
    return time.process_time() - start


def main() -> None:
    """Print ratios and differences."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--passes", type=int, default=3)
    passes = arguments.parse_args().passes
    reference = json.loads((CASES / "results.json").read_text())
    measured = reference["timing"]["yardstick"]["measured"]
    official_yardstick = max(entry["kdtree_200k_build_and_query"][1] for entry in measured)
    for ours, theirs in (("non-metrical", "nonmetrical"), ("metrical", "metrical")):
        bench_protocol(ours, reference["protocols"][theirs], official_yardstick, passes)
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def bench_protocol(protocol: str, reference: dict, official_yardstick: float, passes: int) -> None:
    """Time one protocol in both ways and compare its figures."""
    dataset = NowDataset(CASES / "dataset")
    images = {image.name: image for image in dataset.images("val")}
    tasks: dict[tuple[str, str | None], SubjectTask] = {}
    for name, figures in reference["images"].items():
        image, unit = images[name], figures["unit"]
        files = find_prediction(CASES / "predictions", image)
        assert not isinstance(files, str)
        empty = SubjectTask(dataset.root, image.subject, [], (protocol,), UNIT_MM.get(unit))
        tasks.setdefault((image.subject, unit), empty).images.append((image, files))
    count = sum(len(task.images) for task in tasks.values())
    single = [task._replace(images=[image]) for task in tasks.values() for image in task.images]
    official = np.mean([min(figures["seconds_cpu"]) for figures in reference["images"].values()])
    score_subject(single[0])  # compiles
    print(f"{protocol}: official {official:.2f} s = {official / official_yardstick:.2f} yardsticks")
    for kind, planned in (("cold", single), ("warm", list(tasks.values()))):
        seconds, sticks = [], []
        scored: list[ScoredImage] = []
        for _ in range(passes):
            sticks.append(yardstick())
            start = time.process_time()
            scored = [one for task in planned for one in score_subject(task).scored]
            seconds.append((time.process_time() - start) / count)
        sticks.append(yardstick())
        ratio = official / official_yardstick
        print(
            f"  {kind}: {min(seconds):.3f} s per image (median {np.median(seconds):.3f}), "
            f"yardstick {min(sticks):.3f} s (median {np.median(sticks):.3f}): "
            f"{ratio / (min(seconds) / min(sticks)):.1f} times the official speed "
            f"(of medians {ratio / (np.median(seconds) / np.median(sticks)):.1f})"
        )
        compare(scored, reference)


def compare(scored: list[ScoredImage], reference: dict) -> None:
    """Print the largest differences from the official figures."""
    figures = [reference["images"][one.score.image] for one in scored]
    pairs = list(zip(scored, figures, strict=True))
    mean = max(abs(one.score.mean - official["mean"]) for one, official in pairs)
    median = max(abs(one.score.median - official["median"]) for one, official in pairs)
    pooled = np.concatenate([one.distances for one in scored])
    together = reference["pooled"]
    print(
        f"    largest difference per image: mean {mean:.1e}, median {median:.1e} mm; "
        f"pooled: mean {abs(pooled.mean(dtype=float) - together['mean']):.1e}, "
        f"median {abs(float(np.median(pooled)) - together['median']):.1e} mm"
    )


if __name__ == "__main__":
    main()
