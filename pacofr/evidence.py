"""Table 7 on real faces: pre-train every row at equal images seen, probe each frozen encoder.

    OUT/plan.json           what is compared, fixed by the first call
    OUT/runs/perceptual     the shared `self:` net of eq. 3, pre-trained without a perceptual net
    OUT/runs/ROW-sSEED      a pre-training as `pacofr pretrain` leaves it
    OUT/probes/NAME.json    its probe, photo by photo
    OUT/table.md, table.json

The same command given again goes on wherever it was stopped.
"""

import dataclasses
import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pacofr.commands import ProbeConfig
from pacofr.config import ABLATIONS, PretrainConfig, preset
from pacofr.errors import UserError
from pacofr.evidence_config import EvidenceConfig
from pacofr.evidence_table import Probed, RunScore, write_table

if TYPE_CHECKING:
    from pacofr.data import ShardCrops

LOGGER = logging.getLogger(__name__)

METHOD = "3x196-predictor"
MAIN_ROWS = ("1-token", "3x196-random", METHOD)
"""Rows that get every seed: one mask token, a codebook without and with its predictor."""


class Plan(NamedTuple):
    """What the first call fixed, so that every later one compares the same."""

    preset: str
    epochs: int
    crops: int
    fingerprint: str
    rows: tuple[str, ...]
    main_rows: tuple[str, ...]
    seeds: int
    minutes_per_run: float
    seconds_incubating: float
    """Per image, for the method on the machine that made the plan."""
    seconds_after: float
    """The same after the incubation."""


class Job(NamedTuple):
    """One pre-training and its probe."""

    row: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder under runs/."""
        return f"{self.row}-s{self.seed}"


def evidence(config: EvidenceConfig) -> int:
    """Do what is not done yet; the process's exit code."""
    if config.pilot:
        config = dataclasses.replace(
            config,
            out=config.out / "pilot",
            minutes_per_run=config.minutes_per_run / 5,
            seeds=2,
        )
    plan = make_plan(config, MAIN_ROWS if config.pilot else tuple(ABLATIONS))
    scores = [_baseline(config, plan)]
    code = _pretrain(config, plan, "perceptual", "1-token", seed=0, perceptual="none")
    if code:
        return code
    scores.append(_probe(config, "perceptual", "perceptual net", 0))
    for job in jobs(plan):
        net = f"self:{config.out / 'runs' / 'perceptual'}"
        code = _pretrain(config, plan, job.name, job.row, seed=job.seed, perceptual=net)
        if code:
            return code
        scores.append(_probe(config, job.name, job.row, job.seed))
        write_table(config.out, plan._asdict(), scores)
    LOGGER.info("%s", (config.out / "table.md").read_text(encoding="utf-8"))
    return 0


def jobs(plan: Plan) -> list[Job]:
    """All rows with the first seed, then the main rows with the others."""
    first = [Job(row, 0) for row in plan.rows]
    return first + [Job(row, seed) for seed in range(1, plan.seeds) for row in plan.main_rows]


def make_plan(config: EvidenceConfig, rows: tuple[str, ...]) -> Plan:
    """Read the plan of an earlier call, or time a few steps and make one."""
    file = config.out / "plan.json"
    crops = _crops(config, preset(config.preset))
    if file.exists():
        content = json.loads(file.read_text(encoding="utf-8"))
        plan = Plan(**{name: _tuple(value) for name, value in content.items()})
        now = (config.preset, len(crops), crops.fingerprint, config.seeds, config.minutes_per_run)
        then = (plan.preset, plan.crops, plan.fingerprint, plan.seeds, plan.minutes_per_run)
        if now != then:
            raise UserError(
                f"{file} plans (preset, crops, fingerprint, seeds, minutes) {then}, the flags say"
                f" {now}; give the same flags, or another --out"
            )
        return plan
    LOGGER.info("timing the method's steps")
    incubating, after = time_steps(config)
    seconds = 60 * config.minutes_per_run
    epochs = 1 + max(1, round((seconds / len(crops) - incubating) / after))
    plan = Plan(
        preset=config.preset,
        epochs=epochs,
        crops=len(crops),
        fingerprint=crops.fingerprint,
        rows=rows,
        main_rows=MAIN_ROWS,
        seeds=config.seeds,
        minutes_per_run=config.minutes_per_run,
        seconds_incubating=incubating,
        seconds_after=after,
    )
    config.out.mkdir(parents=True, exist_ok=True)
    _write(file, plan._asdict())
    minutes = len(crops) * (incubating + (epochs - 1) * after) / 60
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
    """Seconds per image of the method, incubating and after it, with a net of eq. 3 of its size."""
    import numpy as np
    import torch

    from pacofr.engine.distributed import choose_device
    from pacofr.masking import draw
    from pacofr.model import PaCoFR, pretraining_loss
    from pacofr.perceptual import PerceptualNet
    from pacofr.vit import VisionTransformer

    run = preset(config.preset, METHOD)
    device = choose_device(config.device)
    model = PaCoFR(run.model).to(device)
    layers = run.loss.perceptual_layers
    judge = PerceptualNet(VisionTransformer(run.model.encoder), layers).to(device)
    side = run.model.encoder.image_size
    images = torch.rand(run.batch_size, 3, side, side, device=device)
    positions = np.arange(run.batch_size)
    chance = draw(0, 0, positions, run.model, run.masking)
    chance = [torch.from_numpy(array).to(device) for array in chance]
    mixed = run.precision == "bf16"
    seconds = []
    for incubating in (True, False):
        began = 0.0
        for step in range(steps + 1):  # the first one warms up
            if step == 1:
                began = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                output = model(images, *chance, incubating=incubating)
                total = pretraining_loss(output, judge, run.loss).total
            total.backward()
            float(total)  # waits for the device
        seconds.append((time.perf_counter() - began) / (steps * run.batch_size))
    return seconds[0], seconds[1]


def run_config(plan: Plan, row: str, *, seed: int, perceptual: str) -> PretrainConfig:
    """The preset as this row, at the plan's number of images."""
    config = preset(plan.preset, row)
    loss = dataclasses.replace(config.loss, perceptual_net=perceptual)
    return dataclasses.replace(config, loss=loss, epochs=plan.epochs, seed=seed)


def _pretrain(
    config: EvidenceConfig, plan: Plan, name: str, row: str, *, seed: int, perceptual: str
) -> int:
    out = config.out / "runs" / name
    if (out / "model").exists() or _failure(config, name):
        return 0
    from pacofr.pretrain import NotFiniteError, Place, pretrain

    run = run_config(plan, row, seed=seed, perceptual=perceptual)
    LOGGER.info("pre-training %s", name)
    try:
        place = Place(out=out, device=config.device, keep=1)
        return pretrain(run, _crops(config, run), place)
    except NotFiniteError as error:  # a finding, not a reason to stop
        LOGGER.warning("%s failed: %s", name, error)
        _write(config.out / "probes" / f"{name}.json", {"failed": str(error)})
        return 0


def _probe(config: EvidenceConfig, name: str, row: str, seed: int) -> RunScore:
    """The probe of a run, from its file where it was done before."""
    failed = _failure(config, name)
    if failed:
        return RunScore(name=name, row=row, seed=seed, minutes=None, probed=None, failed=failed)
    run = config.out / "runs" / name
    probed = _probed(config, name, str(run))
    state = json.loads((run / "last/training/state.json").read_text(encoding="utf-8"))
    minutes = state["seconds"] / 60
    return RunScore(name=name, row=row, seed=seed, minutes=minutes, probed=probed, failed=None)


def _baseline(config: EvidenceConfig, plan: Plan) -> RunScore:
    """Random weights: what the probe reads off an encoder that has seen no face."""
    probed = _probed(config, "scratch", f"scratch:{plan.preset}")
    return RunScore(name="scratch", row="scratch", seed=0, minutes=0.0, probed=probed, failed=None)


def _probed(config: EvidenceConfig, name: str, spec: str) -> Probed:
    file = config.out / "probes" / f"{name}.json"
    if not file.exists():
        from pacofr.engine.distributed import choose_device
        from pacofr.probe import encoder_of, probe

        LOGGER.info("probing %s", name)
        device = str(choose_device(config.device))
        found = probe(encoder_of(spec), ProbeConfig(photos=config.helen, device=device))
        _write(file, found._asdict())
    content = json.loads(file.read_text(encoding="utf-8"))
    return Probed(**{name: _tuple(content[name]) for name in Probed._fields})


def _failure(config: EvidenceConfig, name: str) -> str | None:
    file = config.out / "probes" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")).get("failed") if file.exists() else None


def _crops(config: EvidenceConfig, run: PretrainConfig) -> "ShardCrops":
    from pacofr.data import ShardCrops

    side = run.model.encoder.image_size
    return ShardCrops(config.shards, side=side, config=run.data, seed=run.seed)


def _write(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}")
    half.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(half, file)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
