"""Table 7 on real faces: pre-train every row at equal images seen, probe each frozen encoder.

    OUT/plan.json           what is compared, fixed by the first call
    OUT/runs/perceptual     the shared `self:` net of eq. 3, pre-trained without a perceptual net
    OUT/runs/ROW-sSEED      a pre-training as `pacofr pretrain` leaves it
    OUT/probes/NAME.json    its probe, photo by photo
    OUT/table.md, table.json, table.png

The same command given again goes on wherever it was stopped. Several processes started with it at
once, each with a core or a GPU (CUDA_VISIBLE_DEVICES=N), share the runs among them.
"""

import dataclasses
import logging
import os
import time
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from pacofr.analysis.config import ProbeConfig
from pacofr.analysis.predictor_audit import ChoiceAudit, audit_choices
from pacofr.analysis.probe.features import NotFiniteFeaturesError
from pacofr.analysis.probe.run import EncoderProbes
from pacofr.analysis.table7_config import EvidenceConfig
from pacofr.analysis.table7_plot import draw_scores
from pacofr.analysis.table7_report import Probed, RunScore, probed, write_table
from pacofr.engine.checkpoint import checkpoints, read_progress
from pacofr.engine.device import Precision, choose_device, resolve_precision
from pacofr.engine.task import RunOptions
from pacofr.engine.trainer import NotFiniteError
from pacofr.errors import UserError
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining.config import PretrainConfig
from pacofr.pretraining.data import ShardCrops
from pacofr.pretraining.encoder_spec import load_encoder_spec
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import PaCoFR, load_pretrained, pretraining_loss
from pacofr.pretraining.method.perceptual_net import PerceptualNet
from pacofr.pretraining.presets import ABLATIONS, preset
from pacofr.pretraining.train import pretrain
from pacofr.utils.config_json import from_json, read_json
from pacofr.utils.files import write_json, write_png
from pacofr.utils.locks import file_lock

LOGGER = logging.getLogger(__name__)

METHOD = "3x196-predictor"
MAIN_ROWS = ("1-token", "3x196-random", METHOD, "mended")
"""Rows that get every seed: one mask token, a codebook without and with its predictor, and the
method mended."""
ALL_PHOTOS = 1_000_000
"""More labelled photos than there are."""


class Table7Plan(NamedTuple):
    """What the first call decided, so that every later one compares the same."""

    preset: str
    precision: Precision
    epochs: int
    crops: int
    fingerprint: str
    rows: tuple[str, ...]
    main_rows: tuple[str, ...]
    seeds: int
    minutes_per_run: float
    perceptual: bool
    warmup_fraction: float
    measure: Literal["linear"]
    """The probe: heat maps by a linear map of the frozen encoder's features. Folders of earlier
    versions have the ridge's scores and cannot be gone on with."""
    seconds_incubating: float
    """Per image, for the method on the machine that made the plan."""
    seconds_after: float
    """The same after the incubation."""


class Table7Job(NamedTuple):
    """One pre-training and its probe."""

    name: str
    """Its folder under runs/."""
    row: str
    """As the table calls it."""
    seed: int = 0


SCRATCH = Table7Job("scratch", "scratch")
"""Random weights: what the probe gives for an encoder that has seen no face."""
PERCEPTUAL = Table7Job("perceptual", "perceptual net")
"""The perceptual network of all other runs: `1-token` pre-trained without such a network."""


def reproduce_table7(config: EvidenceConfig) -> int:
    """Pre-train and probe what is not done yet and write the table; the process's exit code.

    Raises:
        UserError: other flags than the folder's plan; started by torchrun; the perceptual
            network's own run failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "expected a process by itself, got one of torchrun's; give the plain command once per"
            " GPU instead, each with its own CUDA_VISIBLE_DEVICES, they share the runs"
        )
    if config.pilot:
        config = dataclasses.replace(
            config,
            out=config.out / "pilot",
            minutes_per_run=config.minutes_per_run / 5,
            seeds=2,
        )
    locks = config.out / "claims"
    _crops(config, preset(config.preset))  # wrong shards leave no folder behind
    with file_lock(locks / "plan", wait=True):
        plan = make_plan(config, MAIN_ROWS if config.pilot else tuple(ABLATIONS))
    with file_lock(locks / SCRATCH.name, wait=True):
        _probe(config, SCRATCH, f"scratch:{plan.preset}")
    code = _pretrain_perceptual_net(config, plan) if plan.perceptual else 0
    todo = False
    for job in jobs(plan):
        if code:
            return code
        with file_lock(locks / job.name) as mine:
            todo = mine and not _probe_file(config, job).exists()
            code = _pretrain_and_probe(config, plan, job) if todo else 0
        if todo:
            _write_results(config, plan)
    if not todo:  # other processes may have done some of the last ones
        _write_results(config, plan)
    LOGGER.info("%s", (config.out / "table.md").read_text(encoding="utf-8"))
    return code


def _write_results(config: EvidenceConfig, plan: Table7Plan) -> None:
    """Table and chart of all runs that are done by now."""
    with file_lock(config.out / "claims" / "table", wait=True):
        scores = _scores(config, plan)
        write_table(config.out, plan._asdict(), scores)
        write_png(config.out / "table.png", draw_scores(scores))


def _pretrain_perceptual_net(config: EvidenceConfig, plan: Table7Plan) -> int:
    """Pre-train and probe the net of eq. 3; the exit code of its pre-training."""
    LOGGER.info("the perceptual net comes first; where another process is at it, this one waits")
    with file_lock(config.out / "claims" / PERCEPTUAL.name, wait=True):
        code = _pretrain_and_probe(config, plan, PERCEPTUAL)
    failed = None if code else _score(config, PERCEPTUAL).failed
    if failed:
        raise UserError(f"no run can do without the perceptual net, and its own failed: {failed}")
    return code


def jobs(plan: Table7Plan) -> list[Table7Job]:
    """All rows with the first seed, the main ones leading, then the main rows with the others."""
    first = [*plan.main_rows, *(row for row in plan.rows if row not in plan.main_rows)]
    pairs = [(row, 0) for row in first]
    pairs += [(row, seed) for seed in range(1, plan.seeds) for row in plan.main_rows]
    return [Table7Job(f"{row}-s{seed}", row, seed) for row, seed in pairs]


def make_plan(config: EvidenceConfig, rows: tuple[str, ...]) -> Table7Plan:
    """Read the plan of an earlier call, or time a few steps and make one."""
    file = config.out / "plan.json"
    crops = _crops(config, preset(config.preset))
    if file.exists():
        try:
            plan = from_json(Table7Plan, read_json(file, "the plan of an earlier call"), str(file))
        except UserError as error:
            raise UserError(
                f"{file} is no plan of this command ({error}); give another --out"
            ) from error
        now = (config.preset, len(crops), crops.fingerprint, config.seeds, config.minutes_per_run)
        now += (config.perceptual, config.warmup_fraction, config.epochs or plan.epochs)
        then = (plan.preset, plan.crops, plan.fingerprint, plan.seeds, plan.minutes_per_run)
        then += (plan.perceptual, plan.warmup_fraction, plan.epochs)
        if now != then:
            raise UserError(
                f"{file} plans (preset, crops, fingerprint, seeds, minutes, perceptual, warm-up,"
                f" epochs) {then}, the flags say {now}; give the same flags, or another --out"
            )
        return plan
    LOGGER.info("timing the method's steps")
    incubating, after = time_steps(config)
    mean = config.warmup_fraction * incubating + (1 - config.warmup_fraction) * after
    epochs = config.epochs or max(1, round(60 * config.minutes_per_run / (len(crops) * mean)))
    plan = Table7Plan(
        preset=config.preset,
        precision=resolve_precision(preset(config.preset).precision, choose_device(config.device)),
        epochs=epochs,
        crops=len(crops),
        fingerprint=crops.fingerprint,
        rows=rows,
        main_rows=MAIN_ROWS,
        seeds=config.seeds,
        minutes_per_run=config.minutes_per_run,
        perceptual=config.perceptual,
        warmup_fraction=config.warmup_fraction,
        measure="linear",
        seconds_incubating=incubating,
        seconds_after=after,
    )
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(file, plan._asdict())
    minutes = epochs * len(crops) * mean / 60
    total = (len(jobs(plan)) + 1) * minutes / 60
    LOGGER.info(
        "%d epochs of %d faces a run, %.0f min each, about %.1f h in all",
        epochs,
        len(crops),
        minutes,
        total,
    )
    return plan


def time_steps(config: EvidenceConfig, steps: int = 4) -> tuple[float, float]:
    """Seconds per image of the method in its two stages, with the perceptual loss if it is used."""
    run = preset(config.preset, METHOD)
    device = choose_device(config.device)
    model = PaCoFR(run.model).to(device)
    layers = run.loss.perceptual_layers
    perceptual = PerceptualNet(VisionTransformer(run.model.encoder), layers).to(device)
    side = run.model.encoder.image_size
    images = torch.rand(run.batch_size, 3, side, side, device=device)
    positions = np.arange(run.batch_size)
    masks = sample_masks(0, 0, positions, run.model, run.masking)
    tensors = [torch.from_numpy(array).to(device) for array in masks]
    mixed = resolve_precision(run.precision, device) == "bf16"
    seconds = []
    for incubating in (True, False):
        began = 0.0
        for step in range(steps + 1):  # the first one warms up
            if step == 1:
                began = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                output = model(images, *tensors, predictor_training=incubating)
                net = perceptual if config.perceptual else None
                total = pretraining_loss(output, net, run.loss).total
            total.backward()
            float(total.detach())  # waits for the device
        seconds.append((time.perf_counter() - began) / (steps * run.batch_size))
    return seconds[0], seconds[1]


def run_config(config: EvidenceConfig, plan: Table7Plan, job: Table7Job) -> PretrainConfig:
    """The preset as this job's row, at the plan's number of images."""
    if job == PERCEPTUAL:
        run, net = preset(plan.preset, "1-token"), "none"
    else:
        run, net = preset(plan.preset, job.row), f"self:{config.out / 'runs' / PERCEPTUAL.name}"
        net = net if plan.perceptual else "none"
    fraction = plan.warmup_fraction
    warmup = max(1, round(fraction * plan.epochs * (plan.crops // run.batch_size)))
    predictor = dataclasses.replace(run.model.predictor, incubation_steps=warmup)
    return dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, predictor=predictor),
        loss=dataclasses.replace(run.loss, perceptual_net=net),
        optim=dataclasses.replace(run.optim, warmup_epochs=fraction * plan.epochs),
        precision=plan.precision,
        epochs=plan.epochs,
        seed=job.seed,
    )


def _pretrain_and_probe(config: EvidenceConfig, plan: Table7Plan, job: Table7Job) -> int:
    """Do or finish one job; the exit code of its pre-training."""
    if _probe_file(config, job).exists():
        return 0
    out = config.out / "runs" / job.name
    if not (out / "model").exists():
        LOGGER.info("pre-training %s", job.name)
        run = run_config(config, plan, job)
        try:
            options = RunOptions(out=out, device=config.device, keep=1)
            code = pretrain(run, _crops(config, run), options)
        except NotFiniteError as error:  # a finding, not a reason to stop
            LOGGER.warning("%s failed: %s", job.name, error)
            _write_probe(config, job, {"failed": str(error)})
            return 0
        if code:
            return code
    _probe(config, job, str(out))
    return 0


def _probe(config: EvidenceConfig, job: Table7Job, spec: str) -> None:
    """Probe an encoder and write its scores, photo by photo."""
    if _probe_file(config, job).exists():
        return
    LOGGER.info("probing %s", job.name)
    settings = ProbeConfig(
        photos=config.helen, device=config.device, probes=("linear",), labels=(ALL_PHOTOS,)
    )
    try:
        encoder = load_encoder_spec(spec)
        probes = EncoderProbes(encoder.config.image_size, settings)
        result = probed(next(probes.scores(encoder)), probes.mean_shape_nme())
    except NotFiniteFeaturesError as error:  # a finding, not a reason to stop
        LOGGER.warning("%s failed: %s", job.name, error)
        _write_probe(config, job, {"failed": str(error)})
        return
    choices = _audit(config, job, Path(spec))
    _write_probe(config, job, {**result._asdict(), "choices": choices})


def _audit(config: EvidenceConfig, job: Table7Job, run: Path, faces: int = 256) -> dict | None:
    """`audit_choices` of the run's predictor, if it has one, on some of the faces."""
    row = ABLATIONS.get(job.row)
    if row is None or row.selection == "random" or row.mended:  # none puts a choice into the input
        return None
    crops = _crops(config, preset(config.preset))
    some = np.linspace(0, len(crops) - 1, min(faces, len(crops))).astype(np.int64)
    return audit_choices(load_pretrained(run), torch.from_numpy(crops.read(0, some)))._asdict()


def _scores(config: EvidenceConfig, plan: Table7Plan) -> list[RunScore]:
    """Scores of all runs that are done by now, those of other processes included."""
    all_jobs = [SCRATCH, PERCEPTUAL, *jobs(plan)]
    return [_score(config, job) for job in all_jobs if _probe_file(config, job).exists()]


def _score(config: EvidenceConfig, job: Table7Job) -> RunScore:
    file = _probe_file(config, job)
    content = read_json(file, "the scores of a run")
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected the scores of a run, got another JSON file")
    if "failed" in content:
        failed = from_json(str, content["failed"], f"{file}, failed")
        return RunScore(job.name, job.row, job.seed, None, None, failed)
    known = {name: content[name] for name in Probed._fields if name in content}
    probed = from_json(Probed, known, str(file))
    choices = None
    if content.get("choices") is not None:
        choices = from_json(ChoiceAudit, content["choices"], f"{file}, choices")
    trained = checkpoints(config.out / "runs" / job.name)
    minutes = read_progress(trained[0]).seconds / 60 if trained else 0.0
    return RunScore(job.name, job.row, job.seed, minutes, probed, None, choices)


def _probe_file(config: EvidenceConfig, job: Table7Job) -> Path:
    return config.out / "probes" / f"{job.name}.json"


def _write_probe(config: EvidenceConfig, job: Table7Job, content: dict) -> None:
    file = _probe_file(config, job)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, content)


def _crops(config: EvidenceConfig, run: PretrainConfig) -> ShardCrops:
    side = run.model.encoder.image_size
    return ShardCrops(config.shards, side=side, config=run.data, seed=run.seed)
