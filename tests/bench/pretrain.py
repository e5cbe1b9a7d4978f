"""Pre-training's speed and memory against the bare passes it is made of.

    python tests/bench/pretrain.py [PRESET] [--device cuda] [--batch 8] [--compile]

Prints, for the plain step and the incubating step: images per second; the step's time over the sum
of its bare parts (encoder, decoder and perceptual passes on tensors that are already there; goal
1.10); and the peak memory over the bare model's. On CUDA also the model-flops utilisation against
the measured bf16 matmul rate. The perceptual net is a random one of the encoder's own size.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float64

from pacofr.engine.device import resolve_precision
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining.codebook import unpatchify
from pacofr.pretraining.config import DecoderConfig
from pacofr.pretraining.masking import sample_masks
from pacofr.pretraining.model import PaCoFR, pretraining_loss
from pacofr.pretraining.perceptual_net import PerceptualNet
from pacofr.pretraining.presets import PRESETS, preset


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


def gmac(vit: VitConfig, decoder: DecoderConfig) -> tuple[float, float]:
    """Multiply-adds of a forward pass of the encoder and of the decoder, in 1e9 per image."""
    tokens = vit.patches + 1

    def blocks(width: int, depth: int, ratio: float = 4.0) -> float:
        return depth * (tokens * width**2 * (4 + 2 * ratio) + 2 * tokens**2 * width)

    encoder = (
        blocks(vit.width, vit.depth, vit.mlp_ratio) + vit.patches * vit.patch_values * vit.width
    )
    ends = tokens * decoder.width * (vit.width + vit.patch_values)
    return encoder / 1e9, (blocks(decoder.width, decoder.depth) + ends) / 1e9


def matmul_rate(device: torch.device, size: int = 8192) -> float:
    """Measured bf16 matmul rate in flop/s."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return 2 * size**3 / float(seconds([lambda: torch.mm(a, a)], device, 20).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="micro", choices=list(PRESETS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device, batch = torch.device(arguments.device), arguments.batch
    run = dataclasses.replace(preset(arguments.preset), batch_size=batch)
    torch.manual_seed(0)
    model = PaCoFR(run.model).to(device)
    perceptual = PerceptualNet(VisionTransformer(run.model.encoder), (3, 6, 9, 12)).to(device)
    encoder, decoder = model.encoder, model.decoder
    if arguments.compile:
        for net in (model, perceptual, encoder, decoder):
            net.compile()
    images = torch.rand(batch, 3, *2 * (run.model.encoder.image_size,), device=device)
    masks = sample_masks(0, 0, np.arange(batch), run.model, run.masking)
    masks = [torch.from_numpy(part).to(device) for part in masks]
    precision = resolve_precision(run.precision, device)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    patch = run.model.encoder.patch_size

    def whole(*, incubating: bool) -> None:
        with mixed:
            output = model(images, *masks, predictor_training=incubating)
            terms = pretraining_loss(output, perceptual, run.loss)
        model.zero_grad(set_to_none=True)
        terms.total.backward()

    def reconstruction() -> torch.Tensor:
        return unpatchify(decoder(encoder(images)).float(), patch)

    def bare(*, passes: int) -> None:
        """One forward and backward with both perceptual passes, and `passes` without gradients."""
        with mixed:
            with torch.no_grad():
                for _ in range(passes):
                    reconstruction()
                wanted = perceptual(images)
            found = perceptual(reconstruction())
            total = sum((a - b).float().square().mean() for a, b in zip(wanted, found, strict=True))
        model.zero_grad(set_to_none=True)
        total.backward()

    candidates = run.model.codebook.candidates
    once = sum(gmac(run.model.encoder, run.model.decoder))
    looked = 3 * gmac(run.model.encoder, run.model.decoder)[0]
    for name, incubating, extra in (("plain", False, 0), ("incubating", True, candidates)):
        steps = (lambda: whole(incubating=incubating), lambda: bare(passes=extra))  # noqa: B023
        times = seconds(steps, device, arguments.repeats)
        ours = float(np.median(times[:, 0]))
        low, ratio, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
        flop = 2e9 * batch * ((3 + extra) * once + looked)
        print(
            f"{run.model.encoder.width}-wide {name} step, batch {batch} on {device.type} in"
            f" {precision}: {batch / ours:.1f} images/s, {ratio:.3f} of the bare passes"
            f" (quartiles {low:.3f} to {high:.3f}),"
            f" {flop / batch / 1e9:.0f} GFLOP/image, {flop / ours / 1e12:.2f} TFLOP/s"
        )
        memory = [peak_bytes(step, device) for step in steps]
        what = "peak memory" if device.type == "cuda" else "kept for backward"
        print(
            f"  {what}: {memory[0] / 2**20:.0f} MiB, {memory[0] / memory[1]:.3f} of the bare passes"
        )
        if device.type == "cuda":
            rate = matmul_rate(device)
            print(
                f"  {flop / ours / rate:.1%} of the bf16 matmul rate of {rate / 1e12:.0f} TFLOP/s"
            )


if __name__ == "__main__":
    main()
