"""Training and evaluating task models from the command line's settings to result.json."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from pacofr.engine.device import choose_device
from pacofr.engine.distributed import World, barrier, process_group
from pacofr.engine.task import RunOptions
from pacofr.engine.trainer import fit
from pacofr.errors import UserError
from pacofr.models.encoders import FaceEncoder
from pacofr.pretraining.encoder_spec import load_encoder_spec, without_folders
from pacofr.tasks.alignment.evaluate import predict_points, score_points
from pacofr.tasks.alignment.layouts import ALIGNMENT_SETS, load_alignment_split
from pacofr.tasks.alignment.train import AlignmentTraining
from pacofr.tasks.cache import cached_split
from pacofr.tasks.command import DataSpec, Evaluate, TrainAlignment, TrainParsing
from pacofr.tasks.config import (
    AlignmentConfig,
    ParsingConfig,
    TaskModelConfig,
    TaskName,
    TrainedWith,
)
from pacofr.tasks.model import load_task_model
from pacofr.tasks.parsing.classes import PARSING_SETS
from pacofr.tasks.parsing.evaluate import score_labels
from pacofr.tasks.parsing.labels import read_labels
from pacofr.tasks.parsing.layouts import LAPA_FIVE, load_parsing_split
from pacofr.tasks.parsing.train import ParsingTraining
from pacofr.tasks.records import Split
from pacofr.tasks.report.columns import SHAPES
from pacofr.tasks.report.results import (
    FORMAT,
    VERSION,
    Result,
    Score,
    given_scores,
    protocol_deviations,
    read_scores,
    write_result,
)
from pacofr.tasks.report.tables import tables
from pacofr.tasks.training import TaskTraining, resolved, total_steps, trainer_config

LOGGER = logging.getLogger(__name__)


def load_split(task: TaskName, data: DataSpec, split: str, cache: Path | None) -> Split:
    """A split of a data set, from its cache where one is asked for.

    Logs a warning where it has other numbers of samples than published.

    Raises:
        UserError: an unknown data set, or files that are missing or of another form.
    """
    known = PARSING_SETS if task == "parsing" else ALIGNMENT_SETS
    if data.name not in known:
        raise UserError(
            f"unknown data set {data.name!r} for {task}: expected NAME:FOLDER with one of"
            f" {', '.join(known)}"
        )
    if task == "parsing":
        classes = len(PARSING_SETS[data.name].classes)
        load: Callable[[], Split] = lambda: load_parsing_split(data.name, data.root, split)  # noqa: E731
        found = cached_split(
            cache,
            data.name,
            split,
            load,
            lambda sample: read_labels(sample, classes),
            points=len(LAPA_FIVE),
        )
    else:
        load = lambda: load_alignment_split(data.name, data.root, split)  # noqa: E731
        points = ALIGNMENT_SETS[data.name].points
        found = cached_split(cache, data.name, split, load, points=points)
    for other in found.other_counts:
        LOGGER.warning("%s %s: found %s", data.name, split, other)
    return found


def train_task(command: TrainParsing | TrainAlignment) -> int:
    """Train, or go on with a run; the process's exit code: 0 done, 143 after SIGTERM."""
    task: TaskName = "parsing" if isinstance(command, TrainParsing) else "alignment"
    data = DataSpec(command.data)
    with process_group(command.device) as world:
        if not world.is_main:
            barrier(world)  # the main process writes the cache
        whole = load_split(task, data, "train", command.cache)
        test = load_split(task, data, "test", command.cache) if command.test else None
        if world.is_main:
            barrier(world)
        encoder = load_encoder_spec(command.encoder, command.config.resolution)
        config, default = _settings(command.config, encoder, whole.data)
        train = whole.subset(config.labels, config.seed)
        trained = TrainedWith(
            encoder=without_folders(command.encoder),
            tuning=config.tuning,
            labels=len(train.samples),
            steps=total_steps(config, train),
            seed=config.seed,
            deviations=_deviations(config, default, whole, test),
        )
        training = _training(config, encoder, train, test, world, trained)
        options = RunOptions(
            out=command.out,
            device=command.device,
            keep=command.keep,
            tensorboard=command.tensorboard,
        )
        code = fit(training, trainer_config(config, train, world.device), options, world)
        if code == 0 and world.is_main and test is not None:
            shape = SHAPES[train.data]
            scores = read_scores(
                command.out, shape.best_measure, smaller_is_better=shape.smaller_is_better
            )
            result = _result(training.model_config, trained, test, scores)
            write_result(command.out / "result.json", result)
            print(tables([result]))
    return code


def _settings(
    config: ParsingConfig | AlignmentConfig, encoder: FaceEncoder, data: str
) -> tuple[ParsingConfig | AlignmentConfig, ParsingConfig | AlignmentConfig]:
    """The settings with everything filled in, and those of the protocol."""
    if isinstance(config, ParsingConfig):
        parsing = PARSING_SETS[data]
        protocol = ParsingConfig(
            warp=parsing.warp,
            epochs=parsing.epochs,
            frame=512,
            head=dataclasses.replace(ParsingConfig().head, width=768),
        )
        warp = parsing.warp if config.warp is None else config.warp
        config = dataclasses.replace(config, warp=warp)
        return resolved(config, encoder, parsing.epochs), protocol
    alignment = ALIGNMENT_SETS[data]
    protocol = AlignmentConfig(
        crop_scale=alignment.crop_scale,
        epochs=alignment.epochs,
        frame=512,
        head=dataclasses.replace(AlignmentConfig().head, width=768),
    )
    config = dataclasses.replace(config, crop_scale=config.crop_scale or alignment.crop_scale)
    return resolved(config, encoder, alignment.epochs), protocol


def _deviations(
    config: ParsingConfig | AlignmentConfig,
    protocol: ParsingConfig | AlignmentConfig,
    train: Split,
    test: Split | None,
) -> tuple[str, ...]:
    splits = [train] if test is None else [train, test]
    counts = [f"{split.split} split: {n}" for split in splits for n in split.other_counts]
    return (*protocol_deviations(config, protocol), *counts)


def _training(
    config: ParsingConfig | AlignmentConfig,
    encoder: FaceEncoder,
    train: Split,
    test: Split | None,
    world: World,
    trained: TrainedWith,
) -> TaskTraining:
    if isinstance(config, ParsingConfig):
        return ParsingTraining(config, encoder, train, test, world, trained)
    return AlignmentTraining(config, encoder, train, test, world, trained)


def _result(
    model: TaskModelConfig, trained: TrainedWith, test: Split, scores: tuple[Score, ...]
) -> Result:
    counts = (f"{test.split} split: {other}" for other in test.other_counts)
    return Result(
        FORMAT,
        VERSION,
        task=model.task,
        data=test.data,
        encoder=trained.encoder,
        tuning=trained.tuning,
        resolution=model.encoder.image_size,
        labels=trained.labels,
        steps=trained.steps,
        seed=trained.seed,
        deviations=tuple(dict.fromkeys((*trained.deviations, *counts))),
        test_samples={name: len(positions) for name, positions in test.subsets.items()},
        scores=scores,
    )


@torch.no_grad()
def evaluate_task(command: Evaluate) -> None:
    """Score a model on a test split; prints its table.

    Raises:
        UserError: among others a data set of other classes or landmarks than the model's.
    """
    model, trained = load_task_model(command.model)
    config, data = model.config, DataSpec(command.data)
    if config.task != command.task:
        raise UserError(f"{command.model}: expected a model for {command.task}, got {config.task}")
    test = load_split(command.task, data, "test", command.cache)
    if command.task == "parsing":
        fits = PARSING_SETS[data.name].classes == PARSING_SETS[config.data].classes
    else:
        fits = ALIGNMENT_SETS[data.name].points == config.outputs
    if not fits:
        raise UserError(
            f"{command.model} predicts the {config.outputs} outputs of {config.data}: expected a"
            f" data set with the same ones, got {data.name}"
        )
    device = choose_device(command.device)
    model = model.to(device).eval()
    if command.task == "parsing":
        scores = score_labels(model, config, test, device, command.workers)
    else:
        points = predict_points(model, config, test.samples, device, command.workers)
        scores = score_points(points, test)
    result = _result(config, trained, test, given_scores(scores, trained.steps))
    if command.out is not None:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        write_result(command.out, result)
    print(tables([result]))
