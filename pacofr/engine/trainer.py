"""The training loop: a `TrainingTask` in, checkpoints and a published model out.

It brings data-parallel processes, mixed precision, gradient accumulation and clipping, a moving
average of the weights, validation on a schedule, metrics, checkpoints, and exact resume: the same
call given again goes on from the last checkpoint with the numbers of an uninterrupted run.
"""

import contextlib
import gc
import logging
import time
from collections.abc import Mapping
from typing import Generic, NamedTuple, cast

import torch
from torch import nn

from pacofr.engine import checkpoint, distributed
from pacofr.engine.batches.device_batches import DeviceBatches
from pacofr.engine.batches.loader import BatchLoader
from pacofr.engine.batches.sampling import RankSampler, SamplingPlan
from pacofr.engine.checkpoint import CheckpointWriter, Progress, TrainingState
from pacofr.engine.device import mixed_precision, rng_state, set_rng_state
from pacofr.engine.distributed import World
from pacofr.engine.optimization import adamw
from pacofr.engine.optimization.ema import Ema
from pacofr.engine.optimization.loss_scale import LossScale, most_overflows
from pacofr.engine.run_log import RunLog
from pacofr.engine.speed.compile_trial import try_compiled_step
from pacofr.engine.speed.compiling import compile_parts, compiler_errors_as_user_error
from pacofr.engine.speed.profiling import StepProfiler
from pacofr.engine.speed.utilization import matmul_rate
from pacofr.engine.step_metrics import ReducedStep, StepAccumulator, StepMetrics, not_finite_line
from pacofr.engine.task import Batch, RunOptions, Stage, TrainerConfig, TrainingTask
from pacofr.errors import UserError
from pacofr.utils.locks import exclusive_run
from pacofr.utils.stop_request import StopRequest

LOGGER = logging.getLogger(__name__)


class NotFiniteError(UserError):
    """A loss or a gradient is not finite; the step was not applied."""


class LaunchedStep(NamedTuple):
    """A step whose numbers the host has not read yet."""

    stage: Stage
    epoch: int
    rate: float
    """Learning rate."""
    progress: Progress
    """After the step."""
    reduced: ReducedStep


def fit(task: TrainingTask[Batch], config: TrainerConfig, options: RunOptions, world: World) -> int:
    """Carry out a training, or go on with it; call on every rank, within `process_group`.

    Returns:
        The process's exit code: 0 when the training is done, 143 or 130 when SIGTERM or Ctrl-C
        stopped it after a step (it has saved then).

    Raises:
        UserError: among others `NotFiniteError`, a folder of another run, a lost process.
    """
    with distributed.lost_peer_as_user_error("in training", "give the same command again to go on"):
        remedy = "give the same command without compile to go on from the last checkpoint"
        with compiler_errors_as_user_error(remedy):
            return _Trainer(task, config, options, world).run()


class _Trainer(Generic[Batch]):
    def __init__(
        self, task: TrainingTask[Batch], config: TrainerConfig, options: RunOptions, world: World
    ) -> None:
        self.task, self.config, self.options, self.world = task, config, options, world
        self.folder = options.out
        self.total_steps = sum(stage.steps for stage in task.stages)
        self.state: TrainingState
        self.log: RunLog
        self.stop = StopRequest()
        self.compiled = self.deferred = False
        self.unread: list[LaunchedStep] = []
        self.overflows = 0
        """Steps in a row that were skipped for an overflow of float16."""
        self.flop_rate: float | None = None
        self.profiler = StepProfiler(self.folder, enabled=options.profile and world.is_main)
        self.writer: CheckpointWriter | None = None
        self.saved_step = -1
        self.saved_at = self.timed_from = time.monotonic()

    def run(self) -> int:
        before = checkpoint.checkpoints(self.folder)
        if not before and (self.folder / "model").exists():
            raise UserError(
                f"{self.folder} holds a model/ that a new run would replace, and no checkpoint to"
                " go on from; give another --out"
            )
        self._prepare_state(resumed=bool(before))
        if before:
            task = self.task
            checkpoint.require_same_config(
                before[0], task.run_config, task.resume_may_change, task.implied_config
            )
            rows = checkpoint.load_checkpoint(before[0], self.state)
            set_rng_state(rows[self.world.rank % len(rows)], self.world.device)
            self.saved_step = self.state.progress.step
            LOGGER.info("going on from %s", before[0])
        step = self.state.progress.step
        agreed = f"the step to go on from in {self.folder}"
        distributed.require_same_on_all_ranks(step, self.world, agreed)
        with contextlib.ExitStack() as held:
            if self.world.is_main:
                held.enter_context(exclusive_run(self.folder))
                if checkpoint.checkpoints(self.folder) != before:
                    raise UserError(
                        f"another process has just written to {self.folder}; give the same command"
                        " again to go on from there"
                    )
            self.log = RunLog(
                self.folder,
                writes=self.world.is_main,
                first_step=step,
                total_steps=self.total_steps,
                tensorboard=self.options.tensorboard,
            )
            held.enter_context(contextlib.closing(self.log))
            held.enter_context(self.stop)
            if self.world.is_main:
                self.writer = CheckpointWriter(
                    self.folder,
                    export=self.task.export,
                    run_config=self.task.run_config,
                    keep=self.options.keep,
                    background=self.task.exports_in_background,
                )
                held.callback(self.writer.join)
            begin = 0
            for stage in self.task.stages:
                end = begin + stage.steps
                if self.state.progress.step < end and not self._run_stage(stage, begin, end):
                    self._finish_saving()
                    done = self.state.progress.step
                    LOGGER.info("stopped after step %d; the same command goes on", done)
                    return self.stop.exit_code or 143
                begin = end
            if self.saved_step != self.state.progress.step:
                self._save()
            self._finish_saving()
            if self.world.is_main:
                newest = checkpoint.checkpoints(self.folder)[0]
                checkpoint.publish_model(self.folder, newest)
                LOGGER.info("%d steps done: %s", self.total_steps, self.folder / "model")
        return 0

    def _prepare_state(self, *, resumed: bool) -> None:
        task = self.task
        if not resumed:
            task.initialize()
        task.model.to(self.world.device)
        self.state = TrainingState(
            model=task.model,
            optimizer=task.make_optimizer(),
            ema=self._new_ema(),
            progress=Progress(step=0, images=0, seconds=0.0, world_size=self.world.size),
            loss_scale=LossScale(self.world.device) if self.config.precision == "fp16" else None,
        )
        self.compiled = self.config.compile
        if self.compiled:
            compile_parts(task.compiled_parts())

    def _new_ema(self) -> Ema | None:
        decay = self.config.ema_decay
        return None if decay is None else Ema(self.task.model, decay)

    def _run_stage(self, stage: Stage, begin: int, end: int) -> bool:
        """Carry out a stage or what is left of it; whether it was not asked to stop."""
        state, task = self.state, self.task
        if stage.restart and state.progress.step == begin:
            if state.ema is not None:
                state.model.load_state_dict(state.ema.model.state_dict())
                state.ema = self._new_ema()
            state.optimizer = task.make_optimizer()
        task.begin_stage(stage)
        self._prepare_speed(stage)
        gc.collect()  # the gradient hooks of the last stage's wrapper go with it
        forward = distributed.data_parallel(state.model, self.world)
        data = task.data(stage)
        batches: BatchLoader[Batch] = BatchLoader(
            data.read,
            RankSampler(data.plan, self.world, state.progress.step, end),
            workers=self.config.workers,
            pin=self.world.device.type == "cuda",
        )
        with contextlib.closing(batches), self.profiler:
            self.timed_from = time.monotonic()
            on_device: DeviceBatches[Batch] = DeviceBatches(batches, self.world.device)
            untried = self.compiled
            for batch in on_device:
                if untried:
                    self.compiled = try_compiled_step(
                        task, state, batch, stage, self.config, self.world
                    )
                    untried = False
                self.unread.append(self._launch(forward, batch, stage, data.plan))
                on_device.prefetch()
                step = state.progress.step
                leave = 1 if self.deferred and not self._needs_numbers(step, end) else 0
                save, stop = self._read(leave)
                if self.writer is not None:
                    self.writer.check()
                if save or stop:
                    self._read(0)
                    self._save()
                if stop:
                    return False
                self.profiler.step()
        return True

    def _prepare_speed(self, stage: Stage) -> None:
        """Decide whether the host may lag behind, and measure what utilisation is relative to."""
        fused = all(group.get("fused") for group in self.state.optimizer.param_groups)
        wanted = self.config.deferred
        self.deferred = fused and (self.world.device.type == "cuda" if wanted is None else wanted)
        flop = self.task.flop_per_image(stage)
        if flop is None or not self.world.is_main:
            return
        if self.flop_rate is None:
            self.flop_rate = matmul_rate(self.world.device, self.config.precision)
        self.log.mfu_per_rate = flop / (self.flop_rate * self.world.size)

    def _needs_numbers(self, step: int, end: int) -> bool:
        """Whether something happens after this step that must see its numbers, or it is the last
        of its stage; the same on every rank."""
        config = self.config
        every = (config.validate_steps, config.picture_steps, config.save_steps)
        return step == end or any(_due(steps, step, last=False) for steps in every)

    def _read(self, leave: int) -> tuple[bool, bool]:
        """Read and record the numbers of all launched steps but the last `leave`.

        Returns:
            Whether to save, and whether to stop.

        Raises:
            NotFiniteError: a step was not finite.
        """
        save = stop = False
        while len(self.unread) > leave:
            launched = self.unread.pop(0)
            metrics = launched.reduced.read()
            self._check_finite(launched, metrics)
            self._record(launched, metrics)
            save, stop = save or metrics.save, stop or metrics.stop
        return save, stop

    def _check_finite(self, launched: LaunchedStep, metrics: StepMetrics) -> None:
        if metrics.finite:
            self.overflows = 0
            return
        self.overflows += 1
        step = launched.progress.step
        most = most_overflows(at_the_end=step == self.total_steps)
        if self.state.loss_scale is None or self.overflows > most:
            raise NotFiniteError(self._not_finite(step, metrics))

    def _launch(
        self, forward: nn.Module, batch: Batch, stage: Stage, plan: SamplingPlan
    ) -> LaunchedStep:
        config, world, state = self.config, self.world, self.state
        scale = state.loss_scale
        step = state.progress.step
        rate = self.task.learning_rate(step)
        adamw.set_learning_rate(state.optimizer, rate)
        state.optimizer.zero_grad(set_to_none=True)

        # Each micro-batch weighs by its samples, DDP averages over ranks: a mean over all samples.
        accumulator = StepAccumulator(world)
        slices = distributed.even_slices(len(batch[0]), config.accumulate)
        for part in slices:
            micro_batch = cast(Batch, type(batch)(*(tensor[part] for tensor in batch)))
            weight = len(micro_batch[0]) / plan.batch_size
            with distributed.no_sync(forward, hold=part is not slices[-1]):
                with mixed_precision(world.device, config.precision):
                    loss = self.task.loss(forward, micro_batch, stage)
                minimised = next(iter(loss.means.values())) * (weight * world.size)
                scaled = minimised if scale is None else scale.scaled(minimised)
                scaled.backward()
            accumulator.add(loss, weight)

        if scale is not None:
            scale.unscale(state.model.parameters())
        norms = adamw.gradient_norms(state.model)
        due = world.is_main and self._save_is_due(step + 1)
        reduced = accumulator.all_reduce(norms, save=due, stop=self.stop.signal is not None)
        if scale is not None:
            scale.update(reduced.finite)
        self._apply(reduced)

        now = time.monotonic()  # the wait for the step before is within, what `_pause` ends is not
        seconds, self.timed_from = state.progress.seconds + now - self.timed_from, now
        images = state.progress.images + plan.batch_size
        state.progress = Progress(step + 1, images, seconds, world.size)
        return LaunchedStep(stage, plan.epoch(step), rate, state.progress, reduced)

    def _apply(self, reduced: ReducedStep) -> None:
        """Step the optimiser and the average, unless loss or gradient, the same on all ranks, are
        not finite."""
        state = self.state
        if self.deferred:
            # fused optimisers read it on the device, as they do for torch.amp.GradScaler
            found_inf = (~reduced.finite).to(self.world.device, torch.float32)
            setattr(state.optimizer, "found_inf", found_inf)  # noqa: B010
        elif not reduced.finite:
            return
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip_norm)
        state.optimizer.step()
        if state.ema is not None:
            state.ema.update(state.model)

    def _record(self, launched: LaunchedStep, metrics: StepMetrics) -> None:
        """Write the step's line, after validating if that is due, and the picture."""
        stage, epoch, rate, progress, _ = launched
        config = self.config
        measured: Mapping[str, float] = {}
        last = progress.step == self.total_steps
        if self.world.is_main and _due(config.validate_steps, progress.step, last):
            measured = self._validate(progress)
            self._pause()
        self.log.step(
            {
                "step": progress.step,
                "epoch": epoch,
                "images": progress.images,
                "lr": rate,
                **(metrics.losses if metrics.finite else {}),
                "grad_norm": metrics.grad_norm if metrics.finite else None,
                "grad_norms": metrics.grad_norms if metrics.finite else None,
                "skipped": None if metrics.finite else True,
                **self.task.record(stage, progress, metrics),
                **measured,
            }
        )
        if self.world.is_main and _due(config.picture_steps, progress.step, last=False):
            picture = self.task.picture()
            if picture is not None:
                self.log.picture(f"step_{progress.step:08d}", picture)
            self._pause()

    @torch.no_grad()
    def _validate(self, progress: Progress) -> Mapping[str, float]:
        """Validation measures of the moving average, or of the model itself."""
        model = self.state.model if self.state.ema is None else self.state.ema.model
        modes = [(module, module.training) for module in model.modules()]
        try:
            measured = self.task.validate(model.eval())
            self.task.validated(model, progress, measured)
            return measured
        finally:
            for module, training in modes:
                module.training = training

    def _save_is_due(self, step: int) -> bool:
        config = self.config
        late = time.monotonic() - self.saved_at >= 60 * config.save_minutes
        return late or _due(config.save_steps, step, last=False)

    def _pause(self) -> None:
        """Leave the time since the last step out of the run's seconds and throughput."""
        self.log.pause()
        self.timed_from = time.monotonic()

    def _save(self) -> None:
        """Write a checkpoint, or begin to: `_finish_saving` waits for it."""
        rows = distributed.all_gather_bytes(rng_state(self.world.device), self.world)
        if self.writer is not None:
            self.writer.save(checkpoint.checkpoint_content(self.state, rows))
        self.saved_step, self.saved_at = self.state.progress.step, time.monotonic()
        self._pause()

    def _finish_saving(self) -> None:
        """Wait until the last checkpoint is on the disk, on every rank."""
        if self.writer is not None:
            self.writer.wait()
        distributed.barrier(self.world)  # torchrun ends all once one has left

    def _not_finite(self, step: int, metrics: StepMetrics) -> str:
        if self.writer is not None:
            self.writer.join()
        good = checkpoint.checkpoints(self.folder)
        kept = f"the last good checkpoint is {good[0]}" if good else "no checkpoint was written yet"
        overflows = None if self.state.loss_scale is None else self.overflows
        return not_finite_line(step, metrics, overflows, kept, self.task.learning_rate_flag)


def _due(every: int, step: int, last: bool) -> bool:
    return every > 0 and (last or step % every == 0)
