"""`mica-ext samples`: training samples of the expression branch from any data set."""

import json
import os
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from flame_assets.model.head import HeadModel
from flame_assets.store import load_head
from mica_ext.commands.branch_samples.plans import Plan, plan_samples
from mica_ext.data.branch.card import data_card
from mica_ext.data.branch.config import SamplesConfig
from mica_ext.data.branch.shards import PARTS, Part, PartResult, write_indices, write_part
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import read_json
from pacofr.utils.locks import exclusive_run
from pacofr.utils.ordered_map import ordered_map
from pacofr.utils.progress import track

FORMAT, VERSION = "mica-ext samples", 1
ABOUT, CARD, RUN = "samples.json", "CARD.md", "run.json"


def make_samples(config: SamplesConfig) -> None:
    """Write all samples that are not there yet, the indices and the data card.

    Raises:
        UserError: the data are not there, or the folder holds other samples.
    """
    head = load_head(config.head)
    skipped = SkipCounter()
    plan = plan_samples(config, head, skipped)
    _start(config, head)
    for match in plan.excluded or ():
        print(f"left out: {match.subject}, {match.median_mm:.2f} mm from {match.scan}")
    with exclusive_run(config.out), threadpool_limits(1):
        jobs = list(enumerate(plan.parts))
        threads = config.threads or os.cpu_count() or 1
        work = ordered_map(partial(_write, config.out), jobs, threads)
        bar = track(range(len(jobs)), "parts")
        results = [future.result() for _, future in zip(bar, work, strict=True)]
        for result in results:
            for reason, each in result.skipped.items():
                skipped.add(reason, each.example, each.count)
        counts = write_indices(config.out, results)
        _report(config, head, plan, results, counts, skipped)


def _write(out: Path, job: tuple[int, Part]) -> PartResult:
    return write_part(out, *job)


def _start(config: SamplesConfig, head: HeadModel) -> None:
    """Make the folder of a run, or check that it goes on with the same settings."""
    path = config.out / PARTS / RUN
    about = _about(config, head)
    if path.exists():
        try:
            before = read_json(path, "the settings of `mica-ext samples`")
        except ContentError as error:
            raise UserError(str(error)) from error
        if before != json.loads(json.dumps(about)):
            raise UserError(f"{config.out} holds samples of other settings; give another --out")
        return
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise UserError(f"{config.out}: expected a new or empty folder; choose another --out")
    try:
        path.parent.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--out {config.out}: cannot be made ({error.strerror})") from error
    write_bytes_atomic(path, (json.dumps(about, indent=1) + "\n").encode())


def _about(config: SamplesConfig, head: HeadModel) -> dict[str, object]:
    """The format, and what decides which samples are made."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": config.source,
        "head": head.name,
        "head_version": head.version,
        "settings": config.settings,
    }


def _report(
    config: SamplesConfig,
    head: HeadModel,
    plan: Plan,
    results: list[PartResult],
    counts: dict[str, int],
    skipped: SkipCounter,
) -> None:
    people = {
        split: len({name for each in results if each.split == split for name in each.subjects})
        for split in counts
    }
    card = data_card(config.source, head.name, counts, people, plan.excluded, skipped.counts)
    about = {
        **_about(config, head),
        "samples": counts,
        "people": people,
        "excluded": [match._asdict() for match in plan.excluded or ()],
        "skipped": {name: each._asdict() for name, each in skipped.counts.items()},
        "card": card,
    }
    write_bytes_atomic(config.out / CARD, card.encode())
    write_bytes_atomic(config.out / ABOUT, (json.dumps(about, indent=1) + "\n").encode())
    for line in skipped.lines():
        print(line)
    if not counts:
        raise UserError(f"{config.root}: no sample could be made; see the lines above")
    made = ", ".join(
        f"{count} in {split} ({people[split]} people)" for split, count in counts.items()
    )
    print(f"samples: {made}; {config.out / CARD} says what they are")
