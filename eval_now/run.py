"""One run of the benchmark, from the image list to result.json or the archive to submit."""

import contextlib
import os
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from eval_now.config import EvalConfig
from eval_now.data.dataset import NowDataset, open_dataset
from eval_now.data.image_issues import ImageWarning, MissingImage
from eval_now.data.image_list import ImageEntry, read_image_list, select_challenges
from eval_now.errors import UserError
from eval_now.io.terminal import Terminal, print_line, progress
from eval_now.predictions.files import UNIT_MM, Manifest, Unit, load_manifest
from eval_now.predictions.predict_images import predict_images
from eval_now.predictions.submission import write_submission
from eval_now.predictions.validation import (
    ValidatedPredictions,
    require_complete,
    validate_predictions,
)
from eval_now.report.tables import (
    print_missing,
    print_table,
    print_warnings,
    save_tables,
    table_rows,
)
from eval_now.scoring.result import RunResult, Settings, protocol_result
from eval_now.scoring.result_files import (
    RESULT_FILE,
    clear_results,
    folder_id,
    load_result,
    save_distances,
    save_result,
)
from eval_now.scoring.score import (
    Protocol,
    ScoredImage,
    check_units,
    plan_tasks,
    score_subject,
)
from eval_now.scoring.workers import default_jobs, map_parallel

RESULTS = Path("now_result")


def score_command(config: EvalConfig) -> None:
    """`eval-now`."""
    run(config, Terminal())


def run(config: EvalConfig, console: Console) -> RunResult | None:
    """Score the validation split, or pack the test split (returns None)."""
    dataset = open_dataset(config.dataset)
    images = _select_images(config, dataset)
    out = config.out or default_out(config)
    folder = config.predictions or out / "predictions"
    _require_writable(out)
    if config.out is None:
        _require_same_run(out, dataset, folder)
    manifest = _predict_or_open(config, dataset, images, folder, console)
    unit = _resolve_unit(config, folder, manifest)
    protocols = resolve_protocols(config, unit)
    predictions = validate_predictions(folder, images, manifest)
    require_complete(folder, predictions.missing, len(images), config.allow_missing, console)
    if config.split == "test":
        write_submission(out, predictions.readable, len(images), unit, console)
        print_warnings(console, predictions.warnings)
        print_missing(console, predictions.missing)
        return None
    scores = _score(config, dataset, predictions, protocols, unit, console)
    require_complete(folder, scores.missing, len(images), config.allow_missing, console)
    settings = Settings(
        split=config.split,
        dataset=dataset.root.resolve().name,
        predictions=folder.resolve().name,
        predictor=config.predictor or (manifest.predictor if manifest else None),
        unit=unit,
        challenges=config.challenge,
        image_list=None if config.image_list is None else config.image_list.name,
        dataset_id=folder_id(dataset.root),
        predictions_id=folder_id(folder),
    )
    name = config.name or out.resolve().name
    result = _assemble_result(name, settings, images, protocols, scores)
    _write_result(out, result, scores.images, console)
    if config.heatmaps:
        from eval_now.report.heatmaps import draw_heatmaps

        draw_heatmaps(out, dataset, dict(predictions.readable), scores.images, config.heatmaps)
    print_line(console, f"written to {out}")
    return result


def _select_images(config: EvalConfig, dataset: NowDataset) -> list[ImageEntry]:
    """The images to evaluate; every subject must have its scan and landmarks."""
    listed = (
        dataset.images(config.split)
        if config.image_list is None
        else read_image_list(config.image_list)
    )
    images = select_challenges(listed, config.challenge)
    if config.split == "val":
        for subject in dict.fromkeys(image.subject for image in images):
            dataset.check_subject(subject)
    return images


def default_out(config: EvalConfig) -> Path:
    """now_result/NAME, named after the predictor or the folder of predictions."""
    name = config.predictor
    if name is None:
        folder = (config.predictions or Path()).resolve()
        name = folder.parent.name if folder.name == "predictions" else folder.name
    return RESULTS / (re.sub(r"[^\w.-]+", "_", name).strip("_.") or "run")


def _require_writable(folder: Path) -> None:
    """Refuse an --out that cannot be made, before hours of work and without making it yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: {existing} is not a folder that can be written to")


def _require_same_run(out: Path, dataset: NowDataset, folder: Path) -> None:
    """Refuse to replace the result of other predictions or data in a default --out folder."""
    try:
        settings = load_result(out).settings if (out / RESULT_FILE).is_file() else None
    except UserError:
        return  # not readable: nothing to keep
    if settings is None:
        return
    old = (
        settings.predictions_id or folder_id(Path(settings.predictions)),
        settings.dataset_id or folder_id(Path(settings.dataset)),
    )
    if old != (folder_id(folder), folder_id(dataset.root)):
        raise UserError(
            f"{out}: holds the result of other predictions or data ({settings.predictions} on "
            f"{settings.dataset}); give a folder for this one: --out DIR"
        )


def _predict_or_open(
    config: EvalConfig,
    dataset: NowDataset,
    images: list[ImageEntry],
    folder: Path,
    console: Console,
) -> Manifest | None:
    """Run the predictor, if there is one; returns the manifest of the predictions."""
    if config.predictor is not None:
        return predict_images(config.predictor, dataset, images, folder, console)
    if not folder.is_dir():
        raise UserError(f"--predictions {folder}: no such folder")
    return load_manifest(folder)


def _resolve_unit(config: EvalConfig, folder: Path, manifest: Manifest | None) -> Unit | None:
    """The unit from --unit or predictions.json, which must agree."""
    if config.unit and manifest and manifest.unit != config.unit:
        raise UserError(
            f"--unit {config.unit}: {folder}/predictions.json says {manifest.unit}; "
            "leave --unit out"
        )
    return config.unit or (manifest.unit if manifest else None)


def resolve_protocols(config: EvalConfig, unit: Unit | None) -> tuple[Protocol, ...]:
    """Protocols to run; the metrical one needs a unit."""
    if config.protocol == "non-metrical":
        return ("non-metrical",)
    if unit is None:
        raise UserError(
            f"--protocol {config.protocol}: expected the unit of the prediction files; "
            "add --unit m|cm|mm"
        )
    return ("metrical",) if config.protocol == "metrical" else ("non-metrical", "metrical")


class _Scores(NamedTuple):
    """All scored images, and the missing images and warnings of validation and scoring."""

    images: list[ScoredImage]
    missing: list[MissingImage]
    warnings: list[ImageWarning]


def _score(
    config: EvalConfig,
    dataset: NowDataset,
    predictions: ValidatedPredictions,
    protocols: tuple[Protocol, ...],
    unit: Unit | None,
    console: Console,
) -> _Scores:
    """Score the readable predictions in `config.jobs` processes."""
    jobs = config.jobs or default_jobs(len(predictions.readable) * len(protocols))
    unit_mm = UNIT_MM[unit] if unit else None
    tasks = plan_tasks(dataset, predictions.readable, protocols, unit_mm, jobs)
    scores = _Scores([], [*predictions.missing], [*predictions.warnings])
    if unit_mm is not None:
        unit_warnings = check_units(dataset, predictions.readable, unit_mm)
        print_warnings(console, unit_warnings)
        scores.warnings.extend(unit_warnings)
    with (
        progress("scoring", len(predictions.readable)) as advance,
        contextlib.closing(map_parallel(score_subject, tasks, jobs)) as results,
    ):
        for result in results:
            scores.images.extend(result.scored)
            scores.warnings.extend(result.warnings)
            scores.missing.extend(
                MissingImage(image=name, reason=reason) for name, reason in result.failures
            )
            advance(result.images_done)
    return scores


def _assemble_result(
    name: str,
    settings: Settings,
    images: list[ImageEntry],
    protocols: tuple[Protocol, ...],
    scores: _Scores,
) -> RunResult:
    """Sort everything into the order of the image list and pool the figures."""
    position = {image.name: index for index, image in enumerate(images)}
    scores.images.sort(key=lambda image: position[image.score.image])
    return RunResult(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=not scores.missing,
        images_listed=len(images),
        settings=settings,
        software=tuple(f"{package} {version(package)}" for package in ("pacofr", "numpy", "numba")),
        protocols=tuple(
            protocol_result(protocol, _under_protocol(scores.images, protocol))
            for protocol in protocols
        ),
        missing=tuple(sorted(scores.missing, key=lambda entry: position[entry.image])),
        warnings=tuple(sorted(scores.warnings, key=lambda entry: position[entry.image])),
    )


def _under_protocol(images: list[ScoredImage], protocol: Protocol) -> list[ScoredImage]:
    return [image for image in images if image.score.protocol == protocol]


def _write_result(
    out: Path, result: RunResult, images: list[ScoredImage], console: Console
) -> None:
    """Replace an earlier result in `out` and print the table."""
    clear_results(out)
    for entry in result.protocols:
        save_distances(out, entry.protocol, _under_protocol(images, entry.protocol))
    rows = table_rows([result])
    save_tables(out, rows)
    save_result(out, result)
    print_table(console, rows)
    print_warnings(console, result.warnings)
    print_missing(console, result.missing)
