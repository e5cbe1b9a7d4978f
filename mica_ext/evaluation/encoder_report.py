"""Tables of `mica-ext compare-encoders`: means, paired differences, and who wins."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from mica_ext.errors import UserError
from mica_ext.evaluation.posed_errors import FACE, REGIONS
from mica_ext.evaluation.tables import markdown_table
from pacofr.analysis.probe.run import Difference, interval

RESAMPLES = 500
"""Of the bootstrap over photos."""
PHOTO_MEASURES = {"nme": "Helen NME %", "dense": "Helen dense points %"}


class RunErrors(NamedTuple):
    """One run's errors; the same faces in every run."""

    row: str
    seed: int
    posed_mm: Float64[np.ndarray, "N R"]
    """Of rendered people, by `posed_errors.REGIONS`."""
    rest_mm: Float64[np.ndarray, "N R"]
    """The same of heads at rest."""
    photos: dict[str, Float64[np.ndarray, " P"]]
    """`PHOTO_MEASURES` that were taken [%]."""
    movements: dict[str, Float64[np.ndarray, "2 P"]]
    """What faces do in the photos (`photos.MOVEMENTS`), as found and as marked."""

    @property
    def correlations(self) -> dict[str, float]:
        """Of found and marked movements."""
        return {name: float(np.corrcoef(rows)[0, 1]) for name, rows in self.movements.items()}

    @classmethod
    def of(cls, row: str, seed: int, content: Mapping[str, Any]) -> "RunErrors":
        """From measured.json.

        Raises:
            UserError: it holds something else.
        """
        try:
            posed, rest = (
                np.array(content[name], np.float64).reshape(-1, len(REGIONS))
                for name in ("posed_mm", "rest_mm")
            )
            photos = {n: np.array(content[n], np.float64) for n in PHOTO_MEASURES if n in content}
            movements = {
                str(name): np.array(rows, np.float64).reshape(2, -1)
                for name, rows in content.get("movements", {}).items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{row}, seed {seed}: measured.json is damaged ({error}); delete it, the same "
                "command measures again"
            ) from error
        return cls(row, seed, posed, rest, photos, movements)


class Pair(NamedTuple):
    """How much larger one row's measure is than another's."""

    row: str
    against: str
    measure: str
    difference: Difference
    larger_is_better: bool = False

    @property
    def decided(self) -> bool:
        """Whether the 95 % interval leaves out zero."""
        return abs(self.difference.mean) > self.difference.half_interval

    @property
    def verdict(self) -> str:
        """Who is better, in words."""
        if not self.decided:
            return "undecided"
        ours = (self.difference.mean > 0) == self.larger_is_better
        return f"{self.row if ours else self.against} is better"


def pairs_of(runs: Sequence[RunErrors]) -> list[Pair]:
    """Pairs of rows with the same encoder or the same tuning, paired over faces and seeds."""
    rows = list(dict.fromkeys(run.row for run in runs))
    pairs = []
    errors = {row: _by_measure([run for run in runs if run.row == row]) for row in rows}
    for row, against in combinations(rows, 2):
        if set(row.split(", ")) & set(against.split(", ")):
            ours, theirs = errors[row], errors[against]
            pairs += [Pair(row, against, n, interval(ours[n] - theirs[n])) for n in ours]
            own, others = ([run for run in runs if run.row == name] for name in (row, against))
            pairs += _correlation_pairs(own, others)
    return pairs


def _correlation_pairs(ours: Sequence[RunErrors], theirs: Sequence[RunErrors]) -> list[Pair]:
    pairs = []
    for name in ours[0].movements:
        marked = ours[0].movements[name][1]
        found = [np.stack([run.movements[name][0] for run in runs]) for runs in (ours, theirs)]
        apart = correlation_difference(found[0], found[1], marked)
        pairs.append(Pair(ours[0].row, theirs[0].row, f"r of {name}", apart, True))
    return pairs


def correlation_difference(
    ours: Float64[np.ndarray, "seeds P"],
    theirs: Float64[np.ndarray, "seeds P"],
    marked: Float64[np.ndarray, " P"],
) -> Difference:
    """Difference of mean correlations with its 95 % interval over photos and seeds.

    The variance over photos is a bootstrap's, the same photos for both; that over seeds is added as
    in `interval`.
    """

    count = len(marked)

    def apart(photos: Int64[np.ndarray, "draws P"]) -> Float64[np.ndarray, "seeds draws"]:
        ours_r, theirs_r = (
            _correlations(found[:, photos], marked[photos]) for found in (ours, theirs)
        )
        return ours_r - theirs_r

    draws = apart(np.random.default_rng(0).integers(count, size=(RESAMPLES, count))).mean(0)
    seeds = apart(np.arange(count)[None])[:, 0]
    half = 1.96 * float(np.nanstd(draws))
    if len(seeds) > 1:
        # all of it is of the seeds: every photo stands for the seed's own difference
        half = float(np.hypot(half, interval(np.repeat(seeds[:, None], 2, 1)).half_interval))
    return Difference(float(seeds.mean()), half)


def _correlations(
    found: Float64[np.ndarray, "seeds draws P"], marked: Float64[np.ndarray, "draws P"]
) -> Float64[np.ndarray, "seeds draws"]:
    """Pearson's r over the last axis; NaN where one photo was drawn again and again."""
    ours, theirs = (values - values.mean(-1, keepdims=True) for values in (found, marked))
    scale = np.sqrt(np.square(ours).sum(-1) * np.square(theirs).sum(-1))
    known = scale > 1e-12
    return np.where(known, (ours * theirs).sum(-1) / np.where(known, scale, 1), np.nan)


def _by_measure(runs: Sequence[RunErrors]) -> dict[str, Float64[np.ndarray, "seeds faces"]]:
    face = REGIONS.index(FACE)
    found = {"posed mm": np.stack([run.posed_mm[:, face] for run in runs])}
    for name, title in PHOTO_MEASURES.items():
        if all(name in run.photos for run in runs):
            found[title] = np.stack([run.photos[name] for run in runs])
    return found


def markdown(runs: Sequence[RunErrors]) -> str:
    """All tables."""
    rows = list(dict.fromkeys(run.row for run in runs))
    seeds = len({run.seed for run in runs})
    people = len(runs[0].posed_mm)
    lines = [
        f"Posed distance on {people} rendered people who were not trained on, on their own "
        f"identities, mean of {seeds} seeds [mm].",
        "",
    ]
    cells = [["at rest", *_two(np.nanmean(runs[0].rest_mm, 0)), "-"]]
    for row in rows:
        own = np.stack([run.posed_mm for run in runs if run.row == row])
        spread = own[:, :, REGIONS.index(FACE)].mean(1)
        sd = f"{spread.std(ddof=1):.3f}" if len(spread) > 1 else "-"
        cells.append([row, *_two(np.nanmean(own, (0, 1))), sd])
    lines += markdown_table(["encoder", *REGIONS, "sd over seeds"], cells)
    if runs[0].photos:
        names = list(runs[0].correlations)
        cells = []
        for row in rows:
            own = [run for run in runs if run.row == row]
            means = [
                float(np.mean([r.photos[name].mean() for r in own])) for name in PHOTO_MEASURES
            ]
            corr = [np.mean([run.correlations[name] for run in own]) for name in names]
            cells.append([row, *_two(means), *(f"{value:.3f}" for value in corr)])
        lines += [
            "",
            "Photos, the network alone on the mean head; correlations to the markup.",
            "",
        ]
        lines += markdown_table(["encoder", *PHOTO_MEASURES.values(), *names], cells)
    lines += ["", "Differences, paired over faces and seeds, with 95 % intervals.", ""]
    cells = [
        [
            pair.row,
            pair.against,
            pair.measure,
            f"{pair.difference.mean:+.3f} ± {pair.difference.half_interval:.3f}",
            pair.verdict,
        ]
        for pair in pairs_of(runs)
    ]
    lines += markdown_table(["encoder", "against", "measure", "difference", "verdict"], cells)
    if seeds < 3:
        lines += ["", f"{seeds} seeds: too few to tell encoders from chance; three are meant."]
    return "\n".join(lines) + "\n"


def json_content(runs: Sequence[RunErrors]) -> dict[str, object]:
    """The means and differences for JSON."""
    return {
        "format": "mica-ext compare-encoders",
        "version": 1,
        "regions": list(REGIONS),
        "rest_mm": np.nanmean(runs[0].rest_mm, 0).tolist(),
        "runs": [
            {
                "encoder": run.row,
                "seed": run.seed,
                "posed_mm": np.nanmean(run.posed_mm, 0).tolist(),
                **{name: float(values.mean()) for name, values in run.photos.items()},
                "correlations": run.correlations,
            }
            for run in runs
        ],
        "pairs": [
            {
                "encoder": pair.row,
                "against": pair.against,
                "measure": pair.measure,
                **pair.difference._asdict(),
                "decided": pair.decided,
            }
            for pair in pairs_of(runs)
        ],
    }


def _two(values: Sequence[float] | Float64[np.ndarray, " n"]) -> list[str]:
    return [f"{value:.2f}" for value in values]
