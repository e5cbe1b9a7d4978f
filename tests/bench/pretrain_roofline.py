"""What bounds a pre-training step on a GPU: an estimate by arithmetic, without one.

    python tests/bench/pretrain_roofline.py [PRESET] [--batch 90]

Runs a step of both stages on fake tensors (shapes and types alone) and counts, by part of the model
and by forward and backward: operations of matrix products (torch's formulas), and bytes that
kernels move: those of the products, and of everything between two products as if it were one kernel
(what torch.compile can reach at best) or a kernel for each operation (eager). At --rate and
--bandwidth each part then takes at least as long as printed: products at full rate, then the bytes
between them. The defaults are an H100's: the rate that `pretrain.py --gpu` measured there (19.4
TFLOP in 68.2 ms were 36.6 % of it), and five sixths of its memory's nominal 3.35 TB/s.
"""

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from pacofr.models.vit import VisionTransformer
from pacofr.pretraining.config import PretrainConfig
from pacofr.pretraining.method.flops import step_flop
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import PaCoFR, pretraining_loss
from pacofr.pretraining.method.perceptual_net import PerceptualNet
from pacofr.pretraining.presets import PRESETS, preset

FREE = ("view", "reshape", "expand", "permute", "transpose", "t", "select", "slice", "unsqueeze")
FREE += ("squeeze", "detach", "alias", "split", "unbind", "as_strided", "_unsafe_view", "unfold")
FREE += ("lift_fresh", "chunk", "split_with_sizes", "empty", "empty_like", "device")
"""Operations that move no bytes."""
OPTIMISER_BYTES = 28
"""A parameter's under fused AdamW in float32: weight, gradient and two moments read, three
written."""


class Operation(NamedTuple):
    """One kernel of an eager step."""

    part: str
    flop: int
    reads: dict[int, int]
    """Bytes by storage."""
    writes: dict[int, int]


class Recorder(TorchDispatchMode):
    """Records the operations of a step with the part of the model that they belong to: in the
    backward pass the part of the forward pass whose tensors or weights they read.

    Args:
        parts: by name.
    """

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.backward, self._inside = False, ["other"]
        self._owner: dict[int, str] = {}
        self._kept: list[Any] = []  # storages must not share an address
        for name, module in parts.items():
            module.register_forward_pre_hook(lambda *_, name=name: self._inside.append(name))
            module.register_forward_hook(lambda *_: self._inside.pop() and None)
            for parameter in module.parameters():
                self._owner[id(parameter.untyped_storage())] = name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in FREE:
            return out
        flop = 0
        if func.overloadpacket in flop_registry:
            flop = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        self._kept.append(out)
        reads, writes = _bytes((args, kwargs)), _bytes(out)
        part = self._inside[-1]
        if self.backward:
            known = [self._owner[key] for key in reads if key in self._owner]
            part = next((name for name in known if name != "other"), part)
            self._inside[-1] = part
        else:
            self._owner |= dict.fromkeys(writes, part)
        direction = "backward" if self.backward else "forward"
        self.operations.append(Operation(f"{part}, {direction}", flop, reads, writes))
        return out


def _bytes(values: Any) -> dict[int, int]:
    """Bytes by storage; attention maps have none, for flash attention keeps them out of memory."""
    tensors = [value for value in tree_iter(values) if isinstance(value, Tensor)]
    return {
        id(tensor.untyped_storage()): tensor.numel() * tensor.element_size()
        for tensor in tensors
        if tensor.ndim < 3 or tensor.shape[-1] != tensor.shape[-2]
    }


class Account(NamedTuple):
    """What a part does in one step."""

    flop: float
    product_bytes: float
    eager_bytes: float
    """Of all operations between the products, one by one."""
    fused_bytes: float
    """Of the same, all between two products as one kernel."""


def account(operations: list[Operation]) -> dict[str, Account]:
    """Sums by part; a run of operations between two products belongs to the part it begins in."""
    last_read: dict[int, int] = {}
    for number, operation in enumerate(operations):
        for storage in operation.reads:
            last_read[storage] = number
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * 4)
    for begin, end in _runs(operations):
        row, run = sums[operations[begin].part], operations[begin:end]
        if run[0].flop:
            row[0] += run[0].flop
            row[1] += sum(run[0].reads.values()) + sum(run[0].writes.values())
            continue
        made: dict[int, int] = {}
        for operation in run:
            row[2] += sum(operation.reads.values()) + sum(operation.writes.values())
            row[3] += sum(size for key, size in operation.reads.items() if key not in made)
            made |= operation.writes
        row[3] += sum(size for key, size in made.items() if last_read.get(key, -1) >= end)
    return {part: Account(*row) for part, row in sums.items()}


def _runs(operations: list[Operation]) -> Iterator[tuple[int, int]]:
    begin = 0
    for number, operation in enumerate(operations):
        if operation.flop or (number and operations[number - 1].part != operation.part):
            if begin < number:
                yield begin, number
            begin = number
        if operation.flop:
            yield number, number + 1
            begin = number + 1
    if begin < len(operations):
        yield begin, len(operations)


def record_step(run: PretrainConfig, *, incubating: bool) -> tuple[list[Operation], int]:
    """The operations of one step under bf16 autocast, and the model's number of parameters."""
    masks = sample_masks(0, 0, np.arange(run.batch_size), run.model, run.masking)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = PaCoFR(run.model)
        perceptual = None
        if run.loss.perceptual_net != "none":
            net = VisionTransformer(run.model.encoder)
            perceptual = PerceptualNet(net, run.loss.perceptual_layers)
        side = run.model.encoder.image_size
        images = torch.empty(run.batch_size, 3, side, side)
        tensors = [torch.from_numpy(part) for part in masks]
        parts: dict[str, nn.Module] = {"encoder": model.encoder, "decoder": model.decoder}
        if perceptual is not None:
            parts["perceptual"] = perceptual
        recorder = Recorder(parts)
        with recorder, torch.autocast("cpu", torch.bfloat16):
            output = model(images, *tensors, predictor_training=incubating)
            total = pretraining_loss(output, perceptual, run.loss).total
            recorder.backward = True
            total.backward()
        return recorder.operations, sum(p.numel() for p in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="paper", choices=list(PRESETS))
    parser.add_argument("--batch", type=int, default=90)
    parser.add_argument("--rate", type=float, default=7.8e14, help="of bf16 products [flop/s]")
    parser.add_argument("--bandwidth", type=float, default=2.8e12, help="of memory [bytes/s]")
    given = parser.parse_args()
    run = dataclasses.replace(preset(given.preset), batch_size=given.batch)
    for name, incubating in (("main", False), ("incubating", True)):
        operations, parameters = record_step(run, incubating=incubating)
        sums = account(operations)
        net = None if run.loss.perceptual_net == "none" else run.model.encoder
        stated = step_flop(run.model, net, incubating=incubating) * given.batch
        counted = sum(part.flop for part in sums.values())
        print(
            f"{given.preset}, {name} stage, batch {given.batch}: {counted / 1e12:.2f} TFLOP"
            f" counted, {stated / 1e12:.2f} as the MFU has it"
        )
        print(
            "part                   TFLOP  GB products  GB fused  GB eager  ms products  ms fused"
        )
        total = 0.0
        for part, row in sorted(sums.items()):
            products, fused = row.flop / given.rate, row.fused_bytes / given.bandwidth
            total += products + fused
            print(
                f"{part:22} {row.flop / 1e12:5.2f} {row.product_bytes / 1e9:12.1f}"
                f" {row.fused_bytes / 1e9:9.1f} {row.eager_bytes / 1e9:9.1f}"
                f" {1e3 * products:12.1f} {1e3 * fused:9.1f}"
            )
        optimiser = OPTIMISER_BYTES * parameters / given.bandwidth
        total += optimiser
        print(f"optimiser {1e3 * optimiser:.1f} ms for {OPTIMISER_BYTES * parameters / 1e9:.1f} GB")
        print(f"at least {1e3 * total:.1f} ms, {given.batch / total:.0f} images/s,", end=" ")
        print(f"{stated / total / given.rate:.0%} of the rate\n")


if __name__ == "__main__":
    main()
