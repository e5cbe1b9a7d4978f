"""Pre-training's speed and memory against the bare passes it is made of.

    python tests/bench/pretrain.py [PRESET] [--device cuda] [--batch 8] [--compile]
    python tests/bench/pretrain.py --gpu     the training loop of `paper` on one GPU, in minutes

Prints, for the plain step and the incubating step: images per second; the step's time over the sum
of its bare parts (encoder, decoder and perceptual passes on tensors that are already there; goal
1.10); and the peak memory over the bare model's. On CUDA also the model-flops utilisation against
the measured bf16 matmul rate. The perceptual net is a random one of the encoder's own size.

--gpu runs `pacofr pretrain`'s own loop on random crops that are on the device (batch 90, an eighth
of the paper's), without and with compile: images per second and utilisation of its two stages, from
its records; goal 45 % of the measured rate. About a minute on an H100 with 40 steps a stage.
"""

import argparse
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8

from pacofr.engine.checkpoint import write_model
from pacofr.engine.device import resolve_precision
from pacofr.engine.speed.compiling import compile_parts
from pacofr.engine.speed.utilization import matmul_rate
from pacofr.engine.task import RunOptions
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining.config import PretrainConfig, model_to_json
from pacofr.pretraining.method.codebook import unpatchify
from pacofr.pretraining.method.flops import step_flop
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import PaCoFR, pretraining_loss
from pacofr.pretraining.method.perceptual_net import PerceptualNet
from pacofr.pretraining.presets import PRESETS, preset
from pacofr.pretraining.train import pretrain


def seconds(
    steps: Sequence[Callable[[], None]], device: torch.device, repeats: int
) -> Float64[np.ndarray, "repeats steps"]:
    """Times of calls, one step after the other in every round, so that a machine that slows down
    does it to all: wall clock on a GPU, this process's CPU time on a CPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    found = np.empty((repeats + 1, len(steps)))
    for row in found:
        for column, step in enumerate(steps):
            synchronise(device)
            start = clock()
            step()
            synchronise(device)
            row[column] = clock() - start
    return found[1:]  # the first round warms up


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(step: Callable[[], None], device: torch.device) -> float:
    """Peak memory of a call on CUDA; on a CPU the bytes that autograd keeps for backward."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values())


class Passes:
    """A pre-training step and the bare passes it is made of, on tensors that are already there."""

    def __init__(
        self,
        run: PretrainConfig,
        device: torch.device,
        layers: tuple[int, ...] = (3, 6, 9, 12),
        *,
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.loss, self.candidates = run.loss, run.model.codebook.candidates
        self.patch = run.model.encoder.patch_size
        self.model = PaCoFR(run.model).to(device)
        self.encoder, self.decoder = self.model.encoder, self.model.decoder
        self.perceptual = PerceptualNet(VisionTransformer(run.model.encoder), layers).to(device)
        if compiled:
            nets = (self.encoder, self.decoder, self.perceptual.encoder)
            compile_parts(block for net in nets for block in net.blocks)
        batch, side = run.batch_size, run.model.encoder.image_size
        self.images = torch.rand(batch, 3, side, side, device=device)
        masks = sample_masks(0, 0, np.arange(batch), run.model, run.masking)
        self.masks = [torch.from_numpy(part).to(device) for part in masks]
        self.precision = resolve_precision(run.precision, device)
        self.mixed = torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def step(self, *, incubating: bool) -> None:
        """Forward and backward of a step of pre-training."""
        with self.mixed:
            output = self.model(self.images, *self.masks, predictor_training=incubating)
            terms = pretraining_loss(output, self.perceptual, self.loss)
        self.model.zero_grad(set_to_none=True)
        terms.total.backward()

    def bare(self, *, incubating: bool) -> None:
        """One forward and backward with both perceptual passes; eq. 4's passes if incubating."""
        with self.mixed:
            with torch.no_grad():
                for _ in range(self.candidates if incubating else 0):
                    self._reconstruction()
                wanted = self.perceptual(self.images)
            found = self.perceptual(self._reconstruction())
            pairs = zip(wanted, found, strict=True)
            total = torch.stack([(a - b).float().square().mean() for a, b in pairs]).sum()
        self.model.zero_grad(set_to_none=True)
        total.backward()

    def _reconstruction(self) -> torch.Tensor:
        return unpatchify(self.decoder(self.encoder(self.images)).float(), self.patch)

    def flop(self, *, incubating: bool) -> float:
        """Floating-point operations of a step: a backward pass counts as two forward ones."""
        config = self.model.config
        return len(self.images) * step_flop(config, config.encoder, incubating=incubating)


class StepFigures(NamedTuple):
    """What a step costs."""

    seconds: float
    """Median."""
    ratios: tuple[float, float, float]
    """Time over that of the bare passes: quartiles, the median in the middle."""
    bytes: float
    """`peak_bytes`."""
    bytes_ratio: float
    """Over that of the bare passes."""


def measure(passes: Passes, device: torch.device, repeats: int, *, incubating: bool) -> StepFigures:
    """Time a step against its bare passes."""
    calls = (
        lambda: passes.step(incubating=incubating),
        lambda: passes.bare(incubating=incubating),
    )
    times = seconds(calls, device, repeats)
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75]).tolist()
    memory = [peak_bytes(call, device) for call in calls]
    return StepFigures(
        float(np.median(times[:, 0])), (low, middle, high), memory[0], memory[0] / memory[1]
    )


class MadeCrops:
    """64 random crops again and again, as many as asked for, so that no disk is measured."""

    fingerprint = "made"

    def __init__(self, count: int, side: int) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (64, 3, side, side), np.uint8)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def unmirrored(self, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """Crops by number, repeated."""
        return self.pixels[positions % len(self.pixels)]

    def mirrors(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> Bool[np.ndarray, " b"]:
        """None."""
        return np.zeros(len(positions), bool)

    def read(self, epoch: int, positions: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 H W"]:
        """The same."""
        return self.unmirrored(positions)


def training_loop(
    name: str, device: str, batch: int, steps: int, *, compiled: bool, profile: bool = False
) -> None:
    """Run `pretrain` itself and print the later half of each stage of its records; of the plain
    stage alone if a few of its first steps are profiled, whose table by kind of kernel is
    logged."""
    run = preset(name)
    incubating = 0 if profile else steps
    predictor = dataclasses.replace(run.model.predictor, incubation_steps=incubating)
    run = dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, predictor=predictor),
        data=dataclasses.replace(run.data, held_out=0, workers=0, on_device=True),
        loss=dataclasses.replace(run.loss, perceptual_net="none"),
        batch_size=batch,
        epochs=2,
        compile=compiled,
        pictures_every=0,
        checkpoint_minutes=1e6,
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if preset(name).loss.perceptual_net != "none":  # a random net of the encoder's own size
            write_model(out / "net", PaCoFR(run.model), model_to_json(run.model))
            loss = dataclasses.replace(run.loss, perceptual_net=f"self:{out / 'net'}")
            run = dataclasses.replace(run, loss=loss)
        crops = MadeCrops(steps * batch, run.model.encoder.image_size)
        code = pretrain(
            run, crops, RunOptions(out=out / "run", device=device, keep=1, profile=profile)
        )
        if code:
            raise SystemExit(code)
        lines = (out / "run/metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for stage, of_stage in (("incubating", rows[:incubating]), ("plain", rows[incubating:])):
        if not of_stage:
            continue
        half = len(of_stage) // 2
        first, last = of_stage[half - 1], of_stage[-1]
        seconds = last["seconds"] - first["seconds"]
        speed = (last["images"] - first["images"]) / seconds
        print(
            f"{name} {stage}, batch {batch} on {device}{', compiled' * compiled}:"
            f" {speed:.0f} images/s, {speed * last['mfu'] / last['images_per_second']:.1%} of the"
            f" measured matmul rate, {1000 * seconds / (len(of_stage) - half):.1f} ms a step",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="micro", choices=list(PRESETS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument(
        "--profile", action="store_true", help="with --gpu, print a few steps' parts"
    )
    parser.add_argument("--steps", type=int, default=40, help="of each stage, with --gpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.gpu:
        name = "paper" if arguments.preset == "micro" else arguments.preset
        device = "cuda" if torch.cuda.is_available() else "cpu"
        batch = 90 if arguments.batch == 8 else arguments.batch
        for compiled in (True,) if arguments.compile else (False, True):
            training_loop(
                name, device, batch, arguments.steps, compiled=compiled, profile=arguments.profile
            )
        return
    torch.set_num_threads(1)
    device, batch = torch.device(arguments.device), arguments.batch
    run = dataclasses.replace(preset(arguments.preset), batch_size=batch)
    passes = Passes(run, device, compiled=arguments.compile)
    for name, incubating in (("plain", False), ("incubating", True)):
        figures = measure(passes, device, arguments.repeats, incubating=incubating)
        low, ratio, high = figures.ratios
        flop = passes.flop(incubating=incubating)
        rate = flop / figures.seconds
        print(
            f"{run.model.encoder.width}-wide {name} step, batch {batch} on {device.type} in"
            f" {passes.precision}: {batch / figures.seconds:.1f} images/s, {ratio:.3f} of the bare"
            f" passes (quartiles {low:.3f} to {high:.3f}),"
            f" {flop / batch / 1e9:.0f} GFLOP/image, {rate / 1e12:.2f} TFLOP/s"
        )
        what = "peak memory" if device.type == "cuda" else "kept for backward"
        print(
            f"  {what}: {figures.bytes / 2**20:.0f} MiB, {figures.bytes_ratio:.3f} of the bare"
            " passes"
        )
        if device.type == "cuda":
            possible = matmul_rate(device, "bf16")
            print(
                f"  {rate / possible:.1%} of the bf16 matmul rate of {possible / 1e12:.0f} TFLOP/s"
            )


if __name__ == "__main__":
    main()
