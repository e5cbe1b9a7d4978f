"""The table of `pacofr evidence`: rows with their noise, and what they say of the paper's order."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from pacofr.analysis.predictor_audit import ChoiceAudit
from pacofr.analysis.probe.run import ProbeScore
from pacofr.utils.files import write_atomic, write_json

NOTE = (
    "Not comparable with the paper's numbers: another network, data, schedule, task and measure."
    " Landmark error (NME) in percent of the distance of the outer eye corners, lower is better."
)
OURS = "mended"
"""The row that the paper does not have."""
PAPER_AFLW = {
    "1-token": 1.021,
    "1x196": 0.991,
    "3x196-random": 1.011,
    "5x196-random": 1.103,
    "3x196-predictor": 0.990,
    "5x196-predictor": 0.993,
    "3x196-no-incubation": 1.310,
}
"""AFLW-19 NME_diag of Table 7, frozen backbone: the paper's order for a landmark task."""


class Probed(NamedTuple):
    """Landmark errors of a frozen encoder by the linear probe (`probe.run`); NMEs in percent."""

    nme: float
    low: float
    high: float
    mean_shape_nme: float
    each: tuple[float, ...]
    """Per test photo."""


def probed(score: ProbeScore, mean_shape_nme: float) -> Probed:
    """A probe's score with the bootstrap interval over photos."""
    each = score.errors.mean(axis=0)
    low, high = np.percentile(_resampled(each), [2.5, 97.5])
    return Probed(score.mean, float(low), float(high), mean_shape_nme, tuple(each.tolist()))


class RunScore(NamedTuple):
    """One pre-training and its probe."""

    name: str
    row: str
    seed: int
    minutes: float | None
    probed: Probed | None
    failed: str | None
    choices: ChoiceAudit | None = None
    """Of a row with a predictor."""


class SeedNoise(NamedTuple):
    """Scatter of the NME over seeds, pooled over the rows that have several."""

    deviation: float
    """Standard deviation [%]."""
    freedom: int
    """Degrees of freedom of the estimate."""

    @property
    def quantile(self) -> float:
        """Half the width of a 95% interval in deviations: Student's t, 1.96 for many seeds."""
        return float(stdtrit(self.freedom, 0.975))


class RowScore(NamedTuple):
    """One row of Table 7 over its seeds."""

    row: str
    seeds: tuple[int, ...]
    nme: float
    low: float
    high: float
    """Bootstrap interval of the mean over photos (95%), for these very encoders."""
    seed_deviation: float | None
    """Standard deviation of the NME over seeds, None for a single one."""
    minutes: float
    """Mean training time of a run."""
    paper: float | None


class Comparison(NamedTuple):
    """A pair of rows of which the paper finds one better, or that compares the mended method."""

    better: str
    worse: str
    paper_gap: float | None
    """None for a row that the paper does not have."""
    gap: float
    """NME of `better` minus NME of `worse`; negative agrees with the paper."""
    noise: float
    """Half the width of the gap's 95% interval: over photos, and over seeds if their noise is
    known. One pair in twenty is expected outside of it by chance."""
    verdict: str
    """confirmed, reversed or undecided; "needs seeds" while the seeds' deviation is unknown."""


def write_table(out: Path, plan: dict, scores: Sequence[RunScore]) -> None:
    """Write `table.md` and `table.json` from the runs that are done."""
    rows = row_scores(scores)
    pairs = comparisons(scores)
    noise = seed_noise(scores)
    failed = [score for score in scores if score.failed]
    content = {
        "note": NOTE,
        "plan": plan,
        "rows": [row._asdict() for row in rows],
        "seed_noise": noise._asdict() if noise else None,
        "comparisons": [pair._asdict() for pair in pairs],
        "choices": {s.name: s.choices._asdict() for s in scores if s.choices},
        "failed": [{"name": score.name, "why": score.failed} for score in failed],
    }
    write_json(out / "table.json", content)
    text = _markdown(plan, rows, pairs, scores, noise)
    write_atomic(out / "table.md", text.encode())


def row_scores(scores: Sequence[RunScore]) -> list[RowScore]:
    """Rows in the order of their first run."""
    rows = []
    for row in dict.fromkeys(score.row for score in scores):
        done = _done(scores, row)
        if not done:
            continue
        each = _each(done)
        low, high = np.percentile(_resampled(each), [2.5, 97.5])
        nmes = [float(np.mean(score.probed.each)) for score in done if score.probed]
        rows.append(
            RowScore(
                row=row,
                seeds=tuple(score.seed for score in done),
                nme=float(each.mean()),
                low=float(low),
                high=float(high),
                seed_deviation=float(np.std(nmes, ddof=1)) if len(nmes) > 1 else None,
                minutes=float(np.mean([score.minutes or 0.0 for score in done])),
                paper=PAPER_AFLW.get(row),
            )
        )
    return rows


def seed_noise(scores: Sequence[RunScore]) -> SeedNoise | None:
    """Scatter over seeds; None where every row has a single one."""
    squares, freedom = 0.0, 0
    for row in dict.fromkeys(score.row for score in scores):
        nmes = [float(np.mean(s.probed.each)) for s in _done(scores, row) if s.probed]
        if len(nmes) > 1:
            squares += float(np.var(nmes, ddof=1)) * (len(nmes) - 1)
            freedom += len(nmes) - 1
    return SeedNoise((squares / freedom) ** 0.5, freedom) if freedom else None


def comparisons(scores: Sequence[RunScore]) -> list[Comparison]:
    """Every pair of rows that is done, the one that the paper finds better first; `OURS`, which the
    paper does not have, before all others."""
    pairs = []
    of_seeds = seed_noise(scores)
    ordered = [OURS, *sorted(PAPER_AFLW, key=lambda row: PAPER_AFLW[row])]
    for better, worse in itertools.combinations(ordered, 2):
        ours, theirs = _done(scores, better), _done(scores, worse)
        if not ours or not theirs:
            continue
        paired = _each(ours) - _each(theirs)  # the same photos, the same crops
        gap = float(paired.mean())
        noise = 1.96 * float(_resampled(paired).std())
        if of_seeds is None:
            verdict = "needs seeds"
        else:
            seeds = of_seeds.deviation * (1 / len(ours) + 1 / len(theirs)) ** 0.5
            noise = (noise**2 + (of_seeds.quantile * seeds) ** 2) ** 0.5
            verdict = "undecided" if abs(gap) <= noise else "confirmed" if gap < 0 else "reversed"
        paper_gap = None if better == OURS else PAPER_AFLW[better] - PAPER_AFLW[worse]
        pairs.append(Comparison(better, worse, paper_gap, gap, noise, verdict))
    return pairs


def _done(scores: Sequence[RunScore], row: str) -> list[RunScore]:
    return [score for score in scores if score.probed and score.row == row]


def _each(done: Sequence[RunScore]) -> np.ndarray:
    """NME per photo, mean over the runs."""
    return np.mean([score.probed.each for score in done if score.probed], axis=0)


def _resampled(each: np.ndarray, draws: int = 4000) -> np.ndarray:
    """Means of bootstrap samples over photos."""
    chosen = np.random.default_rng(0).integers(len(each), size=(draws, len(each)))
    return each[chosen].mean(axis=1)


def _markdown(
    plan: dict,
    rows: Sequence[RowScore],
    pairs: Sequence[Comparison],
    scores: Sequence[RunScore],
    of_seeds: SeedNoise | None,
) -> str:
    images = plan["epochs"] * plan["crops"]
    lines = [
        NOTE,
        "",
        f"`{plan['preset']}`, {plan['epochs']} epochs of {plan['crops']} faces ({images:,} images"
        " seen) for every row; heat maps by a linear map of the frozen encoder's features.",
        "",
        "| row | seeds | NME | 95% over photos | sd over seeds | minutes | paper, AFLW-19 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = "" if row.seed_deviation is None else f"{row.seed_deviation:.3f}"
        paper = "" if row.paper is None else f"{row.paper:.3f}"
        lines.append(
            f"| {row.row} | {len(row.seeds)} | {row.nme:.3f} | {row.low:.3f} to {row.high:.3f}"
            f" | {spread} | {row.minutes:.0f} | {paper} |"
        )
    noise = "unknown (one seed)"
    if of_seeds is not None:
        noise = f"{of_seeds.deviation:.3f}, with {of_seeds.freedom} degrees of freedom"
    lines += ["", f"Deviation over seeds, pooled: {noise}.", ""]
    lines += ["| the paper's better, or mended | worse | paper's gap | our gap | 95% | verdict |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {p.better} | {p.worse} | {'' if p.paper_gap is None else f'{p.paper_gap:.3f}'}"
        f" | {p.gap:+.3f} | ±{p.noise:.3f}"
        f" | {p.verdict} |"
        for p in pairs
    ]
    lines += _choice_lines(scores)
    lines += [f"\n{score.name} failed: {score.failed}" for score in scores if score.failed]
    return "\n".join(lines) + "\n"


def _choice_lines(scores: Sequence[RunScore]) -> list[str]:
    """The audits of the predictors' choices (`predictor_audit`)."""
    rows = []
    for name, choices in ((score.name, score.choices) for score in scores):
        if choices is None:
            continue
        shares = " ".join(f"{share:.0%}" for share in choices.shares)
        brightness = " ".join("-" if b is None else f"{b:+.2f}" for b in choices.brightness)
        rows.append(
            f"| {name} | {shares} | {brightness} | {choices.agreement:.0%}"
            f" | {choices.error_random:.3f} | {choices.error_predicted:.3f}"
            f" | {choices.error_label:.3f} |"
        )
    if not rows:
        return []
    return [
        "",
        "What the predictor's choice tells of masked patches: share and brightness of those that"
        " choose each candidate, agreement with eq. 5, and their mean square error by who chooses.",
        "",
        "| run | shares | brightness | agreement | random | predictor | eq. 5 |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
