"""One run of the benchmark, from the image list to result.json."""

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from eval_now.config import EvalConfig
from eval_now.dataset import (
    ImageEntry,
    NowDataset,
    choose_challenges,
    find_dataset,
    read_image_list,
)
from eval_now.errors import UserError
from eval_now.guards import Warned
from eval_now.predictions import UNIT_MM, Manifest, PredictionFiles, find_prediction, load_manifest
from eval_now.predictors import predict_images
from eval_now.report import print_missing, print_table, print_warnings, rows_of, save_tables
from eval_now.result import (
    Missing,
    RunResult,
    Settings,
    clear_results,
    protocol_result,
    save_distances,
    save_result,
)
from eval_now.score import Protocol, ScoredImage, inspect_units, plan_tasks, run_tasks
from eval_now.submission import only_readable, write_submission

LONGEST_LIST = 20


def run(config: EvalConfig, console: Console) -> RunResult | None:
    """Score the validation split, or pack the test split (returns None)."""
    dataset = find_dataset(config.dataset)
    images = (
        dataset.images(config.split)
        if config.image_list is None
        else read_image_list(config.image_list)
    )
    images = choose_challenges(images, config.challenge)
    if config.split == "val":
        for subject in dict.fromkeys(image.subject for image in images):
            dataset.scan_file(subject)  # every fault before any work
            dataset.landmarks(subject)
    _must_be_writable(config.out)
    folder = config.predictions or config.out / "predictions"
    if config.predictor is not None:
        manifest = predict_images(config.predictor, dataset, images, folder, console)
    else:
        if not folder.is_dir():
            raise UserError(f"--predictions {folder}: no such folder")
        manifest = load_manifest(folder)
    found, missing = _find_predictions(folder, images, manifest)
    if missing and not config.allow_missing:
        raise _missing_error(console, folder, missing, len(images))
    if not found:
        raise UserError(f"{folder}: none of the {len(images)} listed images has a prediction")
    if config.split == "test":
        found, failures = only_readable(found, console)
        if failures and not config.allow_missing:
            raise _missing_error(console, folder, failures, len(images))
        write_submission(config.out, found, console)
        print_missing(console, [*missing, *failures])
        return None
    result, scored = _score(config, dataset, folder, images, found, missing, manifest, console)
    clear_results(config.out)
    for entry in result.protocols:
        own = [one for one in scored if one.score.protocol == entry.protocol]
        save_distances(config.out, entry.protocol, own)
    rows = rows_of([result], by_challenge=True)
    save_tables(config.out, rows)
    save_result(config.out, result)
    print_table(console, rows)
    print_warnings(console, result.warnings)
    print_missing(console, result.missing)
    if config.heatmaps:
        from eval_now.heatmaps import draw_heatmaps

        draw_heatmaps(config.out, dataset, dict(found), scored, config.heatmaps, console)
    console.print(f"written to {config.out}", highlight=False, markup=False, soft_wrap=True)
    return result


def _must_be_writable(folder: Path) -> None:
    """Refuse an impossible --out before hours of work, without making the folder yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: {there} is not a folder that can be written to")


def _find_predictions(
    folder: Path, images: list[ImageEntry], manifest: Manifest | None
) -> tuple[list[tuple[ImageEntry, PredictionFiles]], list[Missing]]:
    reasons = dict(manifest.failed) if manifest else {}
    found, missing = [], []
    for image in images:
        files = find_prediction(folder, image)
        if isinstance(files, str):
            missing.append(Missing(image=image.name, reason=reasons.get(image.name, files)))
        else:
            found.append((image, files))
    return found, missing


def _missing_error(
    console: Console, folder: Path, missing: list[Missing], listed: int
) -> UserError:
    """The error with a short list in it; a long list is printed line by line before it."""
    entries = [f"{entry.image} ({entry.reason})" for entry in missing]
    if len(entries) > LONGEST_LIST:
        for entry in entries:
            console.print(entry, highlight=False, markup=False, soft_wrap=True)
        entries = [*entries[:3], f"and {len(entries) - 3} more, listed above"]
    return UserError(
        f"{folder}: {len(missing)} of {listed} images have no usable prediction: "
        f"{'; '.join(entries)}; "
        "add them, or go on with --allow-missing (the result is then marked as incomplete)"
    )


def protocols_of(config: EvalConfig, unit: str | None) -> tuple[Protocol, ...]:
    """Protocols to run; the metrical one needs a unit."""
    if config.protocol == "non-metrical":
        return ("non-metrical",)
    if unit is None:
        raise UserError(
            f"--protocol {config.protocol}: expected the unit of the prediction files; "
            "add --unit m|cm|mm"
        )
    return ("metrical",) if config.protocol == "metrical" else ("non-metrical", "metrical")


def _score(
    config: EvalConfig,
    dataset: NowDataset,
    folder: Path,
    images: list[ImageEntry],
    found: list[tuple[ImageEntry, PredictionFiles]],
    missing: list[Missing],
    manifest: Manifest | None,
    console: Console,
) -> tuple[RunResult, list[ScoredImage]]:
    unit = config.unit or (manifest.unit if manifest else None)
    if config.unit and manifest and manifest.unit != config.unit:
        raise UserError(
            f"--unit {config.unit}: {folder}/predictions.json says {manifest.unit}; "
            "leave --unit out"
        )
    protocols = protocols_of(config, unit)
    jobs = config.jobs or os.cpu_count() or 1
    unit_mm = UNIT_MM[unit] if unit else None  # pyright: ignore[reportArgumentType]
    tasks = plan_tasks(dataset, found, protocols, unit_mm, jobs)
    scored: list[ScoredImage] = []
    failures: list[Missing] = []
    warnings = [
        Warned("not_neutral", name, "", "the predictor says that this mesh wears an expression")
        for name in (manifest.not_neutral if manifest else ())
        if name in {image.name for image in images}
    ]
    if unit_mm is not None:
        of_units = inspect_units(dataset, found, unit_mm)
        print_warnings(console, of_units)
        warnings += of_units
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("scoring", total=len(found))
        for task_result in run_tasks(tasks, jobs):
            scored.extend(task_result.scored)
            warnings.extend(task_result.warnings)
            failures.extend(Missing(image=name, reason=text) for name, text in task_result.failures)
            progress.advance(bar, len({one.score.image for one in task_result.scored}))
    if failures and not config.allow_missing:
        raise _missing_error(console, folder, failures, len(images))
    if not scored:
        raise UserError(
            f"{folder}: not one prediction could be read; the first: {failures[0].reason}"
        )
    place = {image.name: index for index, image in enumerate(images)}
    scored.sort(key=lambda one: place[one.score.image])
    warnings.sort(key=lambda one: place[one.image])
    result = RunResult(
        name=config.name or config.out.resolve().name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=not (missing or failures),
        images_listed=len(images),
        settings=Settings(
            split=config.split,
            dataset=str(dataset.root),
            predictions=str(folder),
            predictor=config.predictor or (manifest.predictor if manifest else None),
            unit=unit,
            challenges=config.challenge,
            image_list=None if config.image_list is None else str(config.image_list),
        ),
        software=tuple(f"{name} {version(name)}" for name in ("pacofr", "numpy", "numba")),
        protocols=tuple(
            protocol_result(protocol, [one for one in scored if one.score.protocol == protocol])
            for protocol in protocols
        ),
        missing=tuple(sorted([*missing, *failures], key=lambda one: place[one.image])),
        warnings=tuple(warnings),
    )
    return result, scored
