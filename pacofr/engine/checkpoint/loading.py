"""Reading a checkpoint back into a run, strictly."""

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from pacofr.engine.checkpoint.folder import read_state
from pacofr.engine.checkpoint.state import TrainingState
from pacofr.engine.tensor_files import current_name, load_tensors, load_weights
from pacofr.errors import UserError


def load_checkpoint(checkpoint: Path, state: TrainingState) -> UInt8[Tensor, "ranks n"]:
    """Load weights, optimiser, EMA and progress into `state`, strictly; call on every rank.

    Returns:
        The saved generator states, a row per rank that wrote them.

    Raises:
        UserError: a file is damaged or of another model.
    """
    saved, training = read_state(checkpoint), checkpoint / "training"
    if state.ema is None:
        load_weights(state.model, checkpoint / "model/model.safetensors")
    else:
        load_weights(state.model, training / "weights.safetensors")
        load_weights(state.ema.model, training / "ema.safetensors")
        state.ema.updates = saved.ema_updates
    _load_optimizer(state.model, state.optimizer, training / "optimizer.safetensors")
    if state.loss_scale is not None:
        state.loss_scale.load(training / "loss_scale.safetensors")
    state.progress = saved.progress
    rows = load_tensors(training / "rng.safetensors").get("generators")
    if rows is None or rows.dtype != torch.uint8 or rows.ndim != 2:
        raise UserError(f"{training / 'rng.safetensors'}: expected rows of generator bytes")
    return rows


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> None:
    parameters = dict(model.named_parameters())
    by_name: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in load_tensors(file).items():
        name, _, key = current_name(model, full_name).rpartition("|")
        by_name.setdefault(name, {})[key] = tensor
        if name not in parameters:
            raise UserError(f"{file}: optimiser state of a parameter this model lacks: {name}")
        if tensor.shape not in (torch.Size(), parameters[name].shape):
            raise UserError(f"{file}: optimiser state of {name} is of another shape")
    names = {parameter: name for name, parameter in parameters.items()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    state = {index: by_name[name] for index, name in enumerate(order) if name in by_name}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
