"""How fast eval-now is against the official evaluator's recorded time, and whether it agrees.

    OMP_NUM_THREADS=1 python tests/bench/now_speed.py [--passes 3]

Needs ../shared/reference/now_cases. One process, one thread. The official seconds were taken on
another machine; both are divided by the same yardstick (a k-d tree of 200,000 points, built and
queried), which is measured here between the passes, so that a busy machine slows both alike.
"cold" reads and crops the scan for every image, as the official evaluator does; "warm" reads it
once per subject, as eval-now does (two images per subject here, 17 in the validation set).
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from eval_now.data.dataset import NowDataset
from eval_now.predictions.files import UNIT_MM, find_prediction
from eval_now.scoring.score import Protocol, ScoredImage, SubjectTask, score_subject

CASES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "now_cases"


class Official(NamedTuple):
    """The official evaluator on the machine that recorded it [CPU s]."""

    seconds_per_image: float
    yardstick: float


class Speed(NamedTuple):
    """CPU seconds of every pass, per image, and of the yardsticks around them."""

    seconds: list[float]
    yardsticks: list[float]
    scored: list[ScoredImage]
    """Of the last pass."""


class Differences(NamedTuple):
    """Largest differences from the official figures [mm]: of any image, and of the pooled ones."""

    mean: float
    median: float
    pooled_mean: float
    pooled_median: float


def yardstick(count: int = 200_000) -> float:
    """CPU seconds of the recorded machine's own measure."""
    points, queries = (np.random.RandomState(seed).rand(count, 3) for seed in (0, 1))  # noqa: NPY002
    start = time.process_time()
    cKDTree(points).query(queries)
    return time.process_time() - start


def tasks_of(cases: Path, protocol: Protocol, reference: dict) -> list[SubjectTask]:
    """A task for every subject and unit of the reference's images."""
    dataset = NowDataset(cases / "dataset")
    images = {image.name: image for image in dataset.images("val")}
    tasks: dict[tuple[str, str | None], SubjectTask] = {}
    for name, figures in reference["images"].items():
        image, unit = images[name], figures["unit"]
        files = find_prediction(cases / "predictions", image)
        assert not isinstance(files, str)
        empty = SubjectTask(dataset.root, image.subject, [], (protocol,), UNIT_MM.get(unit))
        tasks.setdefault((image.subject, unit), empty).images.append((image, files))
    return list(tasks.values())


def one_image_each(tasks: list[SubjectTask]) -> list[SubjectTask]:
    """The same images in tasks of their own."""
    return [task._replace(images=[image]) for task in tasks for image in task.images]


def measure(tasks: list[SubjectTask], passes: int, points: int = 200_000) -> Speed:
    """Score all tasks `passes` times, with a yardstick of `points` before and after each pass."""
    count = sum(len(task.images) for task in tasks)
    seconds, sticks = [], [yardstick(points)]
    scored: list[ScoredImage] = []
    for _ in range(passes):
        start = time.process_time()
        scored = [image for task in tasks for image in score_subject(task).scored]
        seconds.append((time.process_time() - start) / count)
        sticks.append(yardstick(points))
    return Speed(seconds, sticks, scored)


def times_as_fast(official: Official, seconds: float, stick: float) -> float:
    """Speed over the official one, both in yardsticks."""
    return official.seconds_per_image / official.yardstick / (seconds / stick)


def compare(scored: list[ScoredImage], reference: dict) -> Differences:
    """Compare with the official figures."""
    figures = [reference["images"][image.score.image] for image in scored]
    pairs = list(zip(scored, figures, strict=True))
    pooled = np.concatenate([image.distances for image in scored])
    together = reference["pooled"]
    return Differences(
        mean=max(abs(image.score.mean - official["mean"]) for image, official in pairs),
        median=max(abs(image.score.median - official["median"]) for image, official in pairs),
        pooled_mean=abs(float(pooled.mean(dtype=float)) - together["mean"]),
        pooled_median=abs(float(np.median(pooled)) - together["median"]),
    )


def bench_protocol(protocol: Protocol, reference: dict, official: Official, passes: int) -> None:
    """Time one protocol in both ways and compare its figures."""
    warm = tasks_of(CASES, protocol, reference)
    score_subject(one_image_each(warm)[0])  # compiles
    sticks = official.seconds_per_image / official.yardstick
    print(f"{protocol}: official {official.seconds_per_image:.2f} s = {sticks:.2f} yardsticks")
    for kind, tasks in (("cold", one_image_each(warm)), ("warm", warm)):
        speed = measure(tasks, passes)
        seconds, stick = min(speed.seconds), min(speed.yardsticks)
        medians = float(np.median(speed.seconds)), float(np.median(speed.yardsticks))
        differences = compare(speed.scored, reference)
        print(
            f"  {kind}: {seconds:.3f} s per image (median {medians[0]:.3f}), "
            f"yardstick {stick:.3f} s (median {medians[1]:.3f}): "
            f"{times_as_fast(official, seconds, stick):.1f} times the official speed "
            f"(of medians {times_as_fast(official, *medians):.1f})\n"
            f"    largest difference per image: mean {differences.mean:.1e}, "
            f"median {differences.median:.1e} mm; pooled: mean {differences.pooled_mean:.1e}, "
            f"median {differences.pooled_median:.1e} mm"
        )


def main() -> None:
    """Print ratios and differences."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--passes", type=int, default=3)
    passes = arguments.parse_args().passes
    reference = json.loads((CASES / "results.json").read_text())
    measured = reference["timing"]["yardstick"]["measured"]
    stick = max(entry["kdtree_200k_build_and_query"][1] for entry in measured)
    protocols: tuple[tuple[Protocol, str], ...] = (
        ("non-metrical", "nonmetrical"),
        ("metrical", "metrical"),
    )
    for ours, theirs in protocols:
        figures = reference["protocols"][theirs]
        seconds = np.mean([min(image["seconds_cpu"]) for image in figures["images"].values()])
        bench_protocol(ours, figures, Official(float(seconds), stick), passes)
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
