"""The data card of a set of samples."""

from collections.abc import Mapping, Sequence

from mica_ext.data.branch.exclusion import Match
from mica_ext.data.skipped import Skipped

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
