"""One run of the benchmark, from the image list to result.json."""

import os
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from eval_now.config import EvalConfig
from eval_now.data.dataset import (
    ImageEntry,
    NowDataset,
    choose_challenges,
    find_dataset,
    read_image_list,
)
from eval_now.data.predictions import UNIT_MM, Manifest, Unit, load_manifest
from eval_now.data.predictors import predict_images
from eval_now.data.submission import write_submission
from eval_now.data.validation import Usable, find_usable, must_be_complete
from eval_now.errors import UserError
from eval_now.report.tables import (
    print_missing,
    print_table,
    print_warnings,
    rows_of,
    save_tables,
)
from eval_now.scoring.result import (
    RESULT_FILE,
    Missing,
    RunResult,
    Settings,
    clear_results,
    load_result,
    protocol_result,
    save_distances,
    save_result,
)
from eval_now.scoring.result_warnings import Warned
from eval_now.scoring.score import Protocol, ScoredImage, inspect_units, plan_tasks, run_tasks

RESULTS = Path("now_result")


def run(config: EvalConfig, console: Console) -> RunResult | None:
    """Score the validation split, or pack the test split (returns None)."""
    dataset = find_dataset(config.dataset)
    images = _listed(config, dataset)
    out = config.out or default_out(config)
    folder = config.predictions or out / "predictions"
    _must_be_writable(out)
    if config.out is None:
        _must_not_replace(out, dataset, folder)
    manifest = _predictions(config, dataset, images, folder, console)
    unit = _unit_of(config, folder, manifest)
    protocols = protocols_of(config, unit)
    usable = find_usable(folder, images, manifest, console)
    must_be_complete(folder, usable.missing, len(images), config.allow_missing, console)
    if config.split == "test":
        write_submission(out, usable.found, len(images), unit, console)
        print_warnings(console, usable.warnings)
        print_missing(console, usable.missing)
        return None
    scored, usable = _score(config, dataset, folder, usable, protocols, unit, console)
    settings = Settings(
        split=config.split,
        dataset=str(dataset.root),
        predictions=str(folder),
        predictor=config.predictor or (manifest.predictor if manifest else None),
        unit=unit,
        challenges=config.challenge,
        image_list=None if config.image_list is None else str(config.image_list),
    )
    name = config.name or out.resolve().name
    result = _result(name, settings, images, protocols, scored, usable)
    clear_results(out)
    for entry in result.protocols:
        own = [one for one in scored if one.score.protocol == entry.protocol]
        save_distances(out, entry.protocol, own)
    rows = rows_of([result], by_challenge=True)
    save_tables(out, rows)
    save_result(out, result)
    print_table(console, rows)
    print_warnings(console, result.warnings)
    print_missing(console, result.missing)
    if config.heatmaps:
        from eval_now.report.heatmaps import draw_heatmaps

        draw_heatmaps(out, dataset, dict(usable.found), scored, config.heatmaps, console)
    console.print(f"written to {out}", highlight=False, markup=False, soft_wrap=True)
    return result


def _listed(config: EvalConfig, dataset: NowDataset) -> list[ImageEntry]:
    """The images to evaluate; missing scans and landmarks are named before any work."""
    listed = (
        dataset.images(config.split)
        if config.image_list is None
        else read_image_list(config.image_list)
    )
    images = choose_challenges(listed, config.challenge)
    if config.split == "val":
        for subject in dict.fromkeys(image.subject for image in images):
            dataset.check_subject(subject)
    return images


def default_out(config: EvalConfig) -> Path:
    """now_result/NAME, after the predictor or the folder of predictions."""
    name = config.predictor
    if name is None:
        folder = (config.predictions or Path()).resolve()
        name = folder.parent.name if folder.name == "predictions" else folder.name
    return RESULTS / (re.sub(r"[^\w.-]+", "_", name).strip("_.") or "run")


def _must_be_writable(folder: Path) -> None:
    """Refuse an impossible --out before hours of work, without making the folder yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: {there} is not a folder that can be written to")


def _must_not_replace(out: Path, dataset: NowDataset, folder: Path) -> None:
    """A folder that nobody named keeps the result of other predictions or data."""
    try:
        settings = load_result(out).settings if (out / RESULT_FILE).is_file() else None
    except UserError:
        return  # nothing that could be read again
    if settings is None:
        return
    old = (Path(settings.predictions).resolve(), Path(settings.dataset).resolve())
    if old != (folder.resolve(), dataset.root.resolve()):
        raise UserError(
            f"{out}: holds the result of {settings.predictions} on {settings.dataset}; "
            "give a folder for this one: --out DIR"
        )


def _predictions(
    config: EvalConfig,
    dataset: NowDataset,
    images: list[ImageEntry],
    folder: Path,
    console: Console,
) -> Manifest | None:
    """Run the predictor, if there is one; what is known of the predictions."""
    if config.predictor is not None:
        return predict_images(config.predictor, dataset, images, folder, console)
    if not folder.is_dir():
        raise UserError(f"--predictions {folder}: no such folder")
    return load_manifest(folder)


def _unit_of(config: EvalConfig, folder: Path, manifest: Manifest | None) -> Unit | None:
    if config.unit and manifest and manifest.unit != config.unit:
        raise UserError(
            f"--unit {config.unit}: {folder}/predictions.json says {manifest.unit}; "
            "leave --unit out"
        )
    return config.unit or (manifest.unit if manifest else None)


def protocols_of(config: EvalConfig, unit: Unit | None) -> tuple[Protocol, ...]:
    """Protocols to run; the metrical one needs a unit."""
    if config.protocol == "non-metrical":
        return ("non-metrical",)
    if unit is None:
        raise UserError(
            f"--protocol {config.protocol}: expected the unit of the prediction files; "
            "add --unit m|cm|mm"
        )
    return ("metrical",) if config.protocol == "metrical" else ("non-metrical", "metrical")


def processors() -> int:
    """Processors that this process may use; a container or a scheduler may allow a few only."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _score(
    config: EvalConfig,
    dataset: NowDataset,
    folder: Path,
    usable: Usable,
    protocols: tuple[Protocol, ...],
    unit: Unit | None,
    console: Console,
) -> tuple[list[ScoredImage], Usable]:
    """Scores image by image, and `usable` with what scoring has found out."""
    jobs = config.jobs or processors()
    unit_mm = UNIT_MM[unit] if unit else None
    tasks = plan_tasks(dataset, usable.found, protocols, unit_mm, jobs)
    scored: list[ScoredImage] = []
    missing: list[Missing] = [*usable.missing]
    warnings: list[Warned] = [*usable.warnings]
    if unit_mm is not None:
        of_units = inspect_units(dataset, usable.found, unit_mm)
        print_warnings(console, of_units)
        warnings += of_units
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("scoring", total=len(usable.found))
        for task_result in run_tasks(tasks, jobs):
            scored.extend(task_result.scored)
            warnings.extend(task_result.warnings)
            missing.extend(Missing(image=name, reason=text) for name, text in task_result.failures)
            progress.advance(bar, len({one.score.image for one in task_result.scored}))
    listed = len(usable.found) + len(usable.missing)
    must_be_complete(folder, missing, listed, config.allow_missing, console)
    return scored, usable._replace(missing=missing, warnings=warnings)


def _result(
    name: str,
    settings: Settings,
    images: list[ImageEntry],
    protocols: tuple[Protocol, ...],
    scored: list[ScoredImage],
    usable: Usable,
) -> RunResult:
    """Figures, missing images and warnings, in the order of the image list."""
    place = {image.name: index for index, image in enumerate(images)}
    scored.sort(key=lambda one: place[one.score.image])
    return RunResult(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=not usable.missing,
        images_listed=len(images),
        settings=settings,
        software=tuple(f"{part} {version(part)}" for part in ("pacofr", "numpy", "numba")),
        protocols=tuple(
            protocol_result(protocol, [one for one in scored if one.score.protocol == protocol])
            for protocol in protocols
        ),
        missing=tuple(sorted(usable.missing, key=lambda one: place[one.image])),
        warnings=tuple(sorted(usable.warnings, key=lambda one: place[one.image])),
    )
