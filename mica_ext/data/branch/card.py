"""Data cards: of a set of samples, and of what a network was trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mica_ext.data.branch.exclusion import Match
from mica_ext.data.skipped import Skipped
from mica_ext.errors import UserError
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import read_json

TRAINING_CARD = "DATA.md"
"""Of a network, beside its weights; packs repeat it."""
MAX_CARD_BYTES = 4 << 20

NOTES: dict[str, str] = {
    "coma": "CoMA (Ranjan et al. 2018): 12 people, also those of VOCASET. Pictures are rendered "
    "from the registrations unless real ones were given. Research only, by CoMA's licence.",
    "famos": "FaMoS (Bolkart et al. 2023). FaMoS and the NoW benchmark come from the same capture "
    "campaign and share people; public names are anonymous. Scores on NoW of a model trained on "
    "these samples may be scores on people it has seen, unless they were left out by "
    "--exclude-like. Research only, by FaMoS' licence.",
    "mica": "MICA's data set (Zielonka et al. 2022): identities are of registered neutral scans; "
    "expression, pose and camera are pseudo-labels of a fit to dense points. Non-commercial.",
    "photos": "Labels are pseudo-labels of a fit to dense points, with their confidence; no truth "
    "in three dimensions. The photos' own terms apply.",
    "heads": "Rendered random heads: all labels are exact, the pictures are not photos.",
}


def data_card(
    source: str,
    head: str,
    counts: Mapping[str, int],
    people: Mapping[str, int],
    excluded: Sequence[Match] | None,
    skipped: Mapping[str, Skipped],
) -> str:
    """Markdown for people; `excluded` is None where nothing was compared with scans."""
    lines = [
        f"# Samples of {source}",
        "",
        NOTES[source],
        "",
        f"Labels belong to the head {head}.",
        "",
    ]
    lines += ["| split | samples | people |", "|---|---|---|"]
    lines += [f"| {split} | {count} | {people.get(split, 0)} |" for split, count in counts.items()]
    lines += ["", "Nobody is in two splits.", ""]
    if excluded is None:
        lines.append("Not compared with any benchmark's scans (--exclude-like).")
    else:
        lines.append(f"Left out because they look like a scan: {len(excluded)} people.")
        lines += [f"- {m.subject}: {m.median_mm:.2f} mm from {m.scan}" for m in excluded]
    lines += ["", *(f"- left out: {each.count} x {name}" for name, each in skipped.items())]
    return "\n".join(lines).rstrip() + "\n"


def training_card(folders: Sequence[Path], rendered: float) -> str:
    """Markdown: the cards of all folders that a network was trained on.

    Args:
        folders: of `mica-ext samples`.
        rendered: share of faces rendered on the way, where there are folders.

    Raises:
        UserError: a folder's samples.json cannot be read.
    """
    share = 1.0 if not folders else rendered
    lines = []
    if share > 0:
        lines = [f"{100 * share:.0f} % of the faces: {NOTES['heads']}", ""]
    for folder in folders:
        try:
            about = read_json(
                folder / "samples.json", "a folder of samples", max_bytes=MAX_CARD_BYTES
            )
        except ContentError as error:
            raise UserError(str(error)) from error
        card = about.get("card") if isinstance(about, dict) else None
        text = card if isinstance(card, str) else f"# Samples without a card in {folder.name}"
        lines += [text.replace("# Samples", "## Samples", 1).rstrip(), ""]
    return "\n".join(lines).rstrip() + "\n"
