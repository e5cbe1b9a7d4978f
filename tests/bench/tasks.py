"""How much of a task training's time is the bare network: python tests/bench/tasks.py

Prints a line for each task: images/s of `pacofr task train` (reading, augmenting, optimiser, moving
average and records), images/s of bare forward and backward passes of the same encoder and head in
the same run, and their ratio; the goal is 1.15 at most.

On a GPU: python tests/bench/tasks.py --encoder scratch:small --batch 40 --workers 12 --device cuda
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.task_trees import write_lapa, write_pts_tree  # noqa: E402

from pacofr.cli import main  # noqa: E402
from pacofr.engine.device import choose_device, resolve_precision  # noqa: E402
from pacofr.pretraining.encoder_spec import load_encoder_spec  # noqa: E402
from pacofr.tasks.alignment.heatmaps import (  # noqa: E402
    heatmap_loss,
    point_loss,
    soft_argmax,
    target_heatmaps,
)
from pacofr.tasks.model import load_task_model, new_task_model  # noqa: E402


def training_rate(task: str, data: str, run: Path, given: argparse.Namespace) -> float:
    """Images per second of the later half of a training, by its records."""
    flags = f"--steps {given.steps} --batch-size {given.batch} --workers {given.workers}".split()
    flags += ["--device", given.device, "--encoder", given.encoder, "--out", str(run), "--no-test"]
    flags += ["--threads", str(given.threads), "--tuning", given.tuning]
    if main(["task", "train", task, "--data", data, *flags]):
        raise SystemExit(f"{task}: the training failed")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    half = len(lines) // 2
    seconds = lines[-1]["seconds"] - lines[half]["seconds"]
    return (lines[-1]["images"] - lines[half]["images"]) / seconds


def bare_rate(task: str, run: Path, given: argparse.Namespace) -> float:
    """Images per second of forward passes, loss and backward passes on one batch."""
    device = choose_device(given.device)
    config = load_task_model(run)[0].config
    model = new_task_model(load_encoder_spec(given.encoder), config).to(device).train()
    if given.tuning == "frozen":
        model.freeze_encoder()
    frames = torch.rand(given.batch, 3, config.frame, config.frame, device=device)
    points = torch.rand(given.batch, config.outputs, 2, device=device)
    classes = torch.randint(
        config.outputs, (given.batch, config.frame, config.frame), device=device
    )
    mixed = resolve_precision("auto", device) == "bf16"
    seconds = []
    for _ in range(given.steps // 2 + 1):
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            logits = model(frames)
        logits = logits.float()
        if task == "alignment":
            target = target_heatmaps(points, 128, 128)
            loss = point_loss(soft_argmax(logits), points) + heatmap_loss(logits, target)
        else:
            resized = torch.nn.functional.interpolate(logits, frames.shape[-2:], mode="bilinear")
            loss = torch.nn.functional.cross_entropy(resized, classes)
        model.zero_grad(set_to_none=True)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return given.batch / float(np.median(seconds[1:]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="scratch:micro")
    parser.add_argument("--tuning", default="tuned")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pts_tree(root / "photos", 16)
        write_lapa(root / "lapa", 16)
        for task, data in (
            ("alignment", f"pts:{root / 'photos'}"),
            ("parsing", f"lapa:{root}/lapa"),
        ):
            ours = training_rate(task, data, root / task, given)
            bare = bare_rate(task, root / task, given)
            print(
                f"{task}: {ours:.2f} images/s, bare {bare:.2f}, ratio {bare / ours:.3f} (goal 1.15)"
            )
