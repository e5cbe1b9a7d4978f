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
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from eval_now.geometry.normals import vertex_normals
from eval_now.geometry.raster import rasterize
from flame_assets.store import load_head
from mica_ext.commands.output_plan import EXAMPLE
from mica_ext.reconstruct import Reconstructor
from mica_ext.render.overlay import backdrop
from mica_ext.render.shading import render
from mica_ext.render.views import portrait_view, screen_points
from pacofr.faces.detect import detect
from pacofr.faces.mtcnn import network as mtcnn
from pacofr.images import load_image

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
now = time.perf_counter


def median_ms(work: Callable[[], object], repeat: int) -> float:
    work()
    times = []
    for _ in range(repeat):
        began = now()
        work()
        times.append(now() - began)
    return 1e3 * float(np.median(times))


def bench_cold_start(photo: Path, model: str, repeat: int) -> None:
    def torch_alone() -> None:
        subprocess.run([sys.executable, "-c", "import torch"], check=True)

    def everything() -> None:
        with tempfile.TemporaryDirectory() as folder:
            script = "import sys; from mica_ext.cli import reconstruct; sys.exit(reconstruct())"
            out = f"{folder}/mesh.obj"
            arguments = [str(photo), "--out", out, "--model", model]
            subprocess.run([sys.executable, "-c", script, *arguments], check=True, stdout=-3)

    bare, whole = median_ms(torch_alone, repeat), median_ms(everything, repeat)
    print(f"cold start            {whole:7.0f} ms")
    print(f"  import torch alone  {bare:7.0f} ms   ratio {whole / bare:.2f}")


def call_and_forward_times(
    photo: Path, reconstructor: Reconstructor, repeat: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whole calls and what of each was spent inside the networks [ms], one pair per call.

    Measured in the same calls, so that a machine that slows down slows both.
    """
    spent: list[float] = []
    modules = [*networks(mtcnn.load_mtcnn()), reconstructor.reader.network]

    def start(module: torch.nn.Module, _: object) -> None:
        module.began = now()  # type: ignore[assignment]

    def stop(module: torch.nn.Module, *_: object) -> None:
        spent.append(now() - module.began)  # type: ignore[operator]

    hooks = [m.register_forward_pre_hook(start) for m in modules]
    hooks += [m.register_forward_hook(stop) for m in modules]
    pairs = []
    for _ in range(repeat + 1):
        spent.clear()
        began = now()
        reconstructor(photo)
        pairs.append((now() - began, sum(spent)))
    for hook in hooks:
        hook.remove()
    whole, inside = 1e3 * np.array(pairs[1:]).T
    return whole, inside


def networks(owner: object) -> list[torch.nn.Module]:
    """The networks a detector holds."""
    if isinstance(owner, torch.nn.Module):
        return list(owner.children())
    return [part for part in vars(owner).values() if isinstance(part, torch.nn.Module)]


def bench_warm(photo: Path, model: str, repeat: int) -> None:
    reconstructor = Reconstructor.load(model)
    image = load_image(photo)
    scale = 640 / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        cv2.imwrite(str(path), image[:, :, ::-1])
        whole, inside = call_and_forward_times(path, reconstructor, repeat)
        print(f"warm, 640-pixel photo {np.median(whole):7.1f} ms")
        ratio = np.median(whole / inside)
        print(f"  networks' forwards  {np.median(inside):7.1f} ms   ratio {ratio:.2f}")
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
                print(f"  {name:19} {median_ms(work, repeat):7.1f} ms")


def bench_raster(repeat: int) -> None:
    head = load_head("anthro")
    vertices, triangles = head.template, head.triangles
    view = portrait_view(vertices, 0.0, 512, 512)
    screen, wall = screen_points(view, vertices), backdrop(512, 512)
    ids = median_ms(lambda: rasterize(screen, triangles, 512, 512), repeat)
    print(f"rasteriser at 512     {ids:7.1f} ms   ({len(triangles)} triangles)")
    normals = median_ms(lambda: vertex_normals(vertices, triangles), repeat)
    print(f"  normals             {normals:7.1f} ms")
    for samples in (1, 2, 3):
        shaded = median_ms(
            lambda n=samples: render(
                vertices, triangles, view, wall, colours=head.colours, samples=n
            ),
            repeat,
        )
        print(f"  shaded, {samples} x {samples}       {shaded:7.1f} ms")


def bench_memory(photo: Path, model: str) -> None:
    image = load_image(photo)
    large = cv2.resize(image, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        cv2.imwrite(str(path), large[:, :, ::-1])
        script = (
            "import resource, sys; from mica_ext.cli import reconstruct; code = reconstruct();"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20); sys.exit(code)"
        )
        arguments = [
            str(path),
            "--out",
            f"{folder}/m.obj",
            "--overlay",
            f"{folder}/o.png",
            "--model",
            model,
        ]
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
        )
    peak = float(done.stdout.splitlines()[-1])
    print(f"peak memory, 12 Mpx   {peak:7.2f} GiB (with overlay; goal 2)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photo", type=Path, default=EXAMPLE)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    global now
    now = CLOCKS[options.clock]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if options.clock == "wall":  # the time of other processes
        bench_cold_start(options.photo, options.model, max(2, options.repeat // 2))
    bench_warm(options.photo, options.model, options.repeat)
    bench_raster(options.repeat)
    bench_memory(options.photo, options.model)


if __name__ == "__main__":
    main()
