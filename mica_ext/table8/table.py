"""Measured rows beside the paper's, as text, Markdown and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eval_now.errors import one_line
from eval_now.scoring.result import RunResult
from mica_ext.identity.weights import read_identity_config
from mica_ext.models.pack import Pack
from mica_ext.table8.published import TABLE_8, Figures, PublishedRow

VALIDATION_IMAGES, VALIDATION_SUBJECTS = 352, 20
"""Of NoW's validation set."""
HEADINGS = ("method", "pre-training / identity", *("median", "mean", "std") * 2)

MICA = "mica"
"""`MeasuredRow.identity` of MICA's own network, unchanged."""


class MeasuredRow(NamedTuple):
    """One pack's figures."""

    name: str
    pack: str
    """As it was asked for."""
    head: str
    identity: str
    """What gives the neutral shape: fit, mica (its own network, unchanged: MICA's row by
    construction), joint (trained with an expression branch), or another network's name."""
    images: int
    subjects: int
    non_metrical: Figures
    metrical: Figures
    differences: tuple[str, ...]
    """From the paper's setting; none: the figures can be compared."""


def measured_row(name: str, asked: str, pack: Pack, result: RunResult) -> MeasuredRow:
    """The row of one pack's result over both protocols."""
    figures = {
        entry.protocol: Figures(entry.pooled.median, entry.pooled.mean, entry.pooled.std)
        for entry in result.protocols
    }
    images = {score.image for entry in result.protocols for score in entry.images}
    subjects = {image.split("/")[0] for image in images}
    differences = []
    listed = result.images_listed
    if listed != VALIDATION_IMAGES or len(subjects) != VALIDATION_SUBJECTS:
        differences.append(
            f"other data: {listed} images of {len(subjects)} subjects, NoW's validation set has "
            f"{VALIDATION_IMAGES} of {VALIDATION_SUBJECTS}"
        )
    if not result.complete:
        differences.append(f"{len(result.missing)} images have no prediction")
    if pack.identity is None:
        differences.append(
            "neutral shape from the fit to points, not from a network trained on 3D scans"
        )
    else:
        differences += _identity_differences(pack.identity)
    return MeasuredRow(
        name=name,
        pack=asked,
        head=pack.head,
        identity=_identity_kind(pack.identity),
        images=len(images),
        subjects=len(subjects),
        non_metrical=figures["non-metrical"],
        metrical=figures["metrical"],
        differences=tuple(differences),
    )


def _identity_differences(identity: Path) -> list[str]:
    """From the rows of the paper: MICA's own, or one trained jointly on CoMA and FaMoS."""
    about = read_identity_config(identity)
    if about.is_mica:
        return []
    if about.trained_jointly:
        return [
            f"identity trained jointly with an expression branch ({about.made_by}); the paper "
            "states neither its weights nor its steps"
        ]
    return ["identity network trained on other data than the paper's"]


def _identity_kind(identity: Path | None) -> str:
    if identity is None:
        return "fit"
    about = read_identity_config(identity)
    if about.trained_jointly:
        return "joint"
    return MICA if about.is_mica else about.name


def table_lines(rows: Sequence[MeasuredRow]) -> list[str]:
    """The table for the terminal."""
    cells = _cells(rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    group = (
        f"{'non-metrical [mm]':>{sum(widths[2:5]) + 4}}  {'metrical [mm]':>{sum(widths[5:]) + 4}}"
    )
    lines = [" " * (widths[0] + widths[1] + 2) + "  " + group]
    for row in cells:
        texts = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(texts).rstrip())
    return lines + _notes(rows)


def markdown(rows: Sequence[MeasuredRow]) -> str:
    """The table as Markdown."""
    head, *body = _cells(rows)
    protocols = ["", "", *["non-metrical"] * 3, *["metrical"] * 3]
    titles = [
        f"{protocol} {title}".strip() for protocol, title in zip(protocols, head, strict=True)
    ]
    lines = ["| " + " | ".join(titles) + " |", "|---|---|" + "---:|" * 6]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]
    return "\n".join([*lines, "", *_notes(rows), ""])


def json_content(rows: Sequence[MeasuredRow]) -> dict[str, object]:
    """The table for JSON; lengths in mm."""

    def plain(row: MeasuredRow | PublishedRow) -> dict[str, object]:
        return {
            key: value._asdict() if isinstance(value, Figures) else value
            for key, value in row._asdict().items()
        }

    return {
        "format": "mica-ext table8",
        "version": 1,
        "unit": "mm",
        "measured": [plain(row) for row in rows],
        "published": [plain(row) for row in TABLE_8],
    }


def _cells(rows: Sequence[MeasuredRow]) -> list[tuple[str, ...]]:
    def numbers(figures: Figures, digits: int) -> tuple[str, ...]:
        return tuple(f"{value:.{digits}f}" for value in figures)

    cells = [HEADINGS]
    cells += [
        (f"{row.method} (paper)", row.pretraining)
        + numbers(row.non_metrical, 2)
        + numbers(row.metrical, 2)
        for row in TABLE_8
    ]
    for number, row in enumerate(rows, start=1):
        mark = f" [{number}]" if row.differences else ""
        measured = numbers(row.non_metrical, 3) + numbers(row.metrical, 3)
        cells.append((one_line(row.name) + mark, one_line(row.identity), *measured))
    return cells


def _notes(rows: Sequence[MeasuredRow]) -> list[str]:
    notes = [
        "Distances from the scans to the neutral meshes, pooled over all images; std is the "
        "population deviation."
    ]
    notes += [
        f"[{number}] not comparable with the paper: {'; '.join(row.differences)}"
        for number, row in enumerate(rows, start=1)
        if row.differences
    ]
    notes += [
        f"{one_line(row.name)}: MICA's own identity network, kept as it is: MICA's row by "
        "construction, whatever its expression branch says"
        for row in rows
        if row.identity == MICA
    ]
    return notes
