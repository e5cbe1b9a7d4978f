"""What the programs' default threads cost on a busy machine, and their speed on a quiet one.

    python tests/bench/threads.py HELEN [--quiet "chrt -r 1"] [--only reconstruct] [--repeat 3]

HELEN has trainset/ and testset/ of photos with .pts files; 40 of them are reconstructed, curated
and probed, and artificial ones scored. Printed for every program, as medians: the CPU time of the
defaults over that of one thread while a busy process runs on every core (goal: at most 1.3); the
wall time of the defaults on a quiet machine over that of one spinning thread per core, which is
what the libraries do if they are let (goal: at most 1). `--quiet` is put before the commands of the
second part: `chrt -r 1` takes the cores from everybody else on a machine that is never quiet.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PHOTO_COUNT = 40
CORES = len(os.sched_getaffinity(0))
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
ONE_THREAD = dict.fromkeys(COUNTS, "1")
SPINNING = {
    **dict.fromkeys(COUNTS, str(CORES)),
    "GOMP_SPINCOUNT": "300000",  # libgomp's own where OMP_WAIT_POLICY is not set
    "OPENBLAS_THREAD_TIMEOUT": "26",
}
CPU_GOAL, WALL_GOAL = 1.3, 1.0


class Program(NamedTuple):
    """A command line, and what makes it use one thread besides the environment."""

    entry: str
    """`module:function`."""
    arguments: list[str]
    """OUT stands for a new folder."""
    one_thread: list[str]


class Cost(NamedTuple):
    """Of a process and its children [s]."""

    wall: float
    cpu: float


def run(program: Program, settings: dict[str, str], prefix: str = "", *, one: bool = False) -> Cost:
    """Run a program with these settings of the libraries and no others."""
    module, function = program.entry.split(":")
    script = f"import sys; from {module} import {function}; sys.exit({function}())"
    libraries = ("OMP_", "MKL_", "OPENBLAS_", "OPENCV_", "GOMP_", "KMP_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(libraries)}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*program.arguments, *(program.one_thread if one else [])]
        line = [*shlex.split(prefix), sys.executable, "-c", script]
        line += [argument.replace("OUT", folder) for argument in arguments]
        with open(Path(folder) / "log", "wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen(line, env=clean | settings, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 3):  # 3: some photos show no face
            raise SystemExit(f"{shlex.join(line)}\n{(Path(folder) / 'log').read_text()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


@contextmanager
def busy_cores() -> Iterator[list[subprocess.Popen]]:
    """A busy process for every core."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(CORES)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def small_helen(helen: Path, folder: Path) -> Path:
    """Links to the first photos of both sets and their landmarks."""
    for part, count in (("trainset", 2 * PHOTO_COUNT), ("testset", PHOTO_COUNT)):
        (folder / part).mkdir(parents=True)
        for photo in sorted((helen / part).glob("*.jpg"))[:count]:
            for path in (photo, photo.with_suffix(".pts")):
                (folder / part / path.name).symlink_to(path.resolve())
    return folder


def programs(helen: Path, folder: Path) -> dict[str, Program]:
    """The programs, with inputs prepared in `folder`."""
    small = small_helen(helen, folder / "helen")
    photos, now = str(small / "testset"), str(folder / "now")
    synth = Program("mica_ext.cli:main", ["synth-now", now, "--subjects", "1"], [])
    run(synth, ONE_THREAD)
    return {
        "reconstruct": Program(
            "mica_ext.cli:reconstruct",
            [photos, "--out", "OUT/meshes", "--device", "cpu"],
            ["--threads", "1"],
        ),
        "eval-now": Program(
            "eval_now.cli:main",
            ["--dataset", now, "--predictor", "mica_ext", "--out", "OUT/run"],
            ["--jobs", "1"],
        ),
        "curate": Program("pacofr.cli:main", ["curate", photos, "--out", "OUT/shards"], []),
        "probe": Program(
            "pacofr.cli:main",
            ["probe", "scratch:micro", "--photos", str(small)],
            ["--threads", "1"],
        ),
    }


class BusyCost(NamedTuple):
    """The defaults while every core is busy beside them."""

    cpu: float
    """Median [s]."""
    ratio: float
    """Over the CPU time of one thread; median of pairs."""


class QuietCost(NamedTuple):
    """The defaults on a quiet machine."""

    wall: float
    """Median [s]."""
    ratio: float
    """Over the wall time of a spinning thread per core; median of pairs."""


def busy_cost(program: Program, repeat: int) -> BusyCost:
    """Compare the defaults with one thread, in turns, with a busy process on every core."""
    with busy_cores():
        pairs = [(run(program, {}), run(program, ONE_THREAD, one=True)) for _ in range(repeat)]
    return BusyCost(
        statistics.median(ours.cpu for ours, _ in pairs),
        statistics.median(ours.cpu / one.cpu for ours, one in pairs),
    )


def quiet_cost(program: Program, repeat: int, prefix: str = "") -> QuietCost:
    """Compare the defaults with spinning threads, in turns; `prefix` stands before the commands."""
    pairs = [(run(program, {}, prefix), run(program, SPINNING, prefix)) for _ in range(repeat)]
    return QuietCost(
        statistics.median(ours.wall for ours, _ in pairs),
        statistics.median(ours.wall / spinning.wall for ours, spinning in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("helen", type=Path)
    parser.add_argument("--quiet", default="", help="prefix of the commands of the quiet part")
    parser.add_argument("--only", help="one of the programs")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen = programs(options.helen, Path(folder))
        if options.only:
            chosen = {options.only: chosen[options.only]}
        for name, program in chosen.items():
            run(program, {})  # compilers' caches
            busy = busy_cost(program, options.repeat)
            quiet = quiet_cost(program, options.repeat, options.quiet)
            print(
                f"{name:12} busy: {busy.cpu:6.2f} s CPU, {busy.ratio:.2f} of one thread (goal"
                f" {CPU_GOAL}); quiet: {quiet.wall:6.2f} s, {quiet.ratio:.2f} of spinning threads"
                f" (goal {WALL_GOAL})",
                flush=True,
            )


if __name__ == "__main__":
    main()
