"""Whether the compiled parts of a model can do a step of its training."""

import logging
from typing import cast

import torch

from pacofr.engine import distributed
from pacofr.engine.checkpoint import TrainingState
from pacofr.engine.device import mixed_precision, rng_state, set_rng_state
from pacofr.engine.distributed import World
from pacofr.engine.speed.compiling import first_line, uncompile_parts
from pacofr.engine.task import Batch, Stage, TrainerConfig, TrainingTask
from pacofr.errors import UserError

LOGGER = logging.getLogger(__name__)


def try_compiled_step(
    task: TrainingTask[Batch],
    state: TrainingState,
    batch: Batch,
    stage: Stage,
    config: TrainerConfig,
    world: World,
) -> bool:
    """Do a step's loss and gradient with the compiled parts; uncompile them on all ranks where that
    fails on one, with one line that says why. Nothing else is changed.

    Returns:
        Whether the parts are compiled still.

    Raises:
        UserError: the task's own; torch.OutOfMemoryError passes, too.
    """
    drawn = rng_state(world.device)
    buffers = [(buffer, buffer.clone()) for buffer in state.model.buffers()]
    part = distributed.even_slices(len(batch[0]), config.accumulate)[0]
    micro_batch = cast(Batch, type(batch)(*(tensor[part] for tensor in batch)))
    failure: Exception | None = None
    try:
        with mixed_precision(world.device, config.precision):
            loss = task.loss(state.model, micro_batch, stage)
        next(iter(loss.means.values())).backward()
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # Dynamo, Inductor, Triton and compilers raise many kinds
        failure = error
    finally:
        set_rng_state(drawn, world.device)
        state.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    failed = torch.tensor([float(failure is not None)], dtype=torch.float64)
    if not distributed.all_reduce_sum(failed, world):
        return True
    reason = "on another rank" if failure is None else first_line(failure)
    LOGGER.warning("training without torch.compile, which fails here: %s", reason)
    uncompile_parts(task.compiled_parts())
    return False
