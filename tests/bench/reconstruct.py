"""How long `reconstruct` takes, beside what it cannot do without; and how much memory.

    python tests/bench/reconstruct.py [--photo PHOTO] [--model PACK] [--repeat 7] [--clock cpu]

Prints ratios: a cold start against a bare `import torch`; a warm call on a 640-pixel photo against
the sum of its networks' forward times (goal 1.5); the rasteriser at 512; the peak memory of a
12-megapixel photo (goal 2 GiB). Times are medians: of wall-clock time, which means something on an
idle machine only, or with `--clock cpu` of this process's processor time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from eval_now.geometry.normals import vertex_normals
from eval_now.geometry.raster import rasterize
from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import load_head
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.reconstruct import Reconstructor
from mica_ext.render.overlay import backdrop
from mica_ext.render.shading import render
from mica_ext.render.views import portrait_view, screen_points
from pacofr.faces.detect import detect
from pacofr.images import load_image

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
WARM_SIDE = 640
"""Longer side of the photo of warm calls [px]."""


class ForwardPass(NamedTuple):
    """One call of a network."""

    network: str
    """Its class."""
    seconds: float


class WarmCalls(NamedTuple):
    """Repeated calls on one photo; both times of a call are measured together."""

    whole: Float64[np.ndarray, " calls"]
    """[ms]"""
    inside: Float64[np.ndarray, " calls"]
    """Of it, inside the networks [ms]."""

    @property
    def ratio(self) -> float:
        """Median time of a call over that of its networks."""
        return float(np.median(self.whole / self.inside))


@contextmanager
def forward_passes(clock: Clock) -> Iterator[list[ForwardPass]]:
    """Note every forward pass of a network in the block; not of modules inside, nor of heads."""
    passes: list[ForwardPass] = []
    began: list[float] = []

    def start(module: torch.nn.Module, _: object) -> None:
        if not isinstance(module, HeadDecoder):
            began.append(clock())

    def stop(module: torch.nn.Module, *_: object) -> None:
        if not isinstance(module, HeadDecoder):
            seconds = clock() - began.pop()
            if not began:
                passes.append(ForwardPass(type(module).__name__, seconds))

    hooks = [register_module_forward_pre_hook(start), register_module_forward_hook(stop)]
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()


def warm_calls(call: Callable[[], object], repeat: int, clock: Clock) -> WarmCalls:
    """Time `call` and the networks in it, after one call that warms up."""
    pairs = []
    for _ in range(repeat + 1):
        with forward_passes(clock) as passes:
            began = clock()
            call()
            pairs.append((clock() - began, sum(each.seconds for each in passes)))
    return WarmCalls(*(1e3 * np.array(pairs[1:]).T))


def median_ms(work: Callable[[], object], repeat: int, clock: Clock) -> float:
    """Median time of a call, after one that warms up."""
    work()
    times = []
    for _ in range(repeat):
        began = clock()
        work()
        times.append(clock() - began)
    return 1e3 * float(np.median(times))


def resized(
    image: UInt8[np.ndarray, "H W 3"], longer_side: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The image at that size."""
    scale = longer_side / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def bench_cold_start(photo: Path, model: str, repeat: int, clock: Clock) -> None:
    def torch_alone() -> None:
        subprocess.run([sys.executable, "-c", "import torch"], check=True)

    def everything() -> None:
        with tempfile.TemporaryDirectory() as folder:
            script = "import sys; from mica_ext.cli import reconstruct; sys.exit(reconstruct())"
            out = f"{folder}/mesh.obj"
            arguments = [str(photo), "--out", out, "--model", model]
            subprocess.run([sys.executable, "-c", script, *arguments], check=True, stdout=-3)

    bare, whole = (median_ms(work, repeat, clock) for work in (torch_alone, everything))
    print(f"cold start            {whole:7.0f} ms")
    print(f"  import torch alone  {bare:7.0f} ms   ratio {whole / bare:.2f}")


def bench_warm(photo: Path, model: str, repeat: int, clock: Clock) -> None:
    reconstructor = Reconstructor.load(model)
    image = resized(load_image(photo), WARM_SIDE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        cv2.imwrite(str(path), image[:, :, ::-1])
        calls = warm_calls(lambda: reconstructor(path), repeat, clock)
        print(f"warm, 640-pixel photo {np.median(calls.whole):7.1f} ms")
        print(f"  networks' forwards  {np.median(calls.inside):7.1f} ms   ratio {calls.ratio:.2f}")
        face = detect(image)[0]
        result = reconstructor(image)
        parts = {
            "load": lambda: load_image(path),
            "detect": lambda: detect(image),
            "landmarks and fit": lambda: reconstructor.estimator(
                reconstructor.align(image, [face])
            ),
            "head": lambda: reconstructor.decoder(result.parameters.head),
            "write obj": lambda: result.save(Path(folder) / "mesh.obj"),
        }
        with torch.inference_mode():
            for name, work in parts.items():
                print(f"  {name:19} {median_ms(work, repeat, clock):7.1f} ms")


def bench_raster(repeat: int, clock: Clock) -> None:
    head = load_head("anthro")
    vertices, triangles = head.template, head.triangles
    view = portrait_view(vertices, 0.0, 512, 512)
    screen, wall = screen_points(view, vertices), backdrop(512, 512)
    ids = median_ms(lambda: rasterize(screen, triangles, 512, 512), repeat, clock)
    print(f"rasteriser at 512     {ids:7.1f} ms   ({len(triangles)} triangles)")
    normals = median_ms(lambda: vertex_normals(vertices, triangles), repeat, clock)
    print(f"  normals             {normals:7.1f} ms")
    for samples in (1, 2, 3):
        shaded = median_ms(
            lambda n=samples: render(
                vertices, triangles, view, wall, colours=head.colours, samples=n
            ),
            repeat,
            clock,
        )
        print(f"  shaded, {samples} x {samples}       {shaded:7.1f} ms")


def bench_memory(photo: Path, model: str) -> None:
    large = cv2.resize(load_image(photo), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        cv2.imwrite(str(path), large[:, :, ::-1])
        peak = peak_gib([str(path), "--out", f"{folder}/m.obj", "--overlay", f"{folder}/o.png",
                         "--model", model])  # fmt: skip
    print(f"peak memory, 12 Mpx   {peak:7.2f} GiB (with overlay; goal 2)")


def peak_gib(arguments: list[str]) -> float:
    """Peak memory of `reconstruct` with these arguments [GiB]."""
    script = (
        "import resource, sys; from mica_ext.cli import reconstruct; code = reconstruct();"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photo", type=Path, default=EXAMPLE)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    photo, model, repeat = options.photo, options.model, options.repeat
    clock = CLOCKS[options.clock]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if options.clock == "wall":  # the time of other processes
        bench_cold_start(photo, model, max(2, repeat // 2), clock)
    bench_warm(photo, model, repeat, clock)
    bench_raster(repeat, clock)
    bench_memory(photo, model)


if __name__ == "__main__":
    main()
