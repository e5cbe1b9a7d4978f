"""How much of a face's movement frozen encoders hold: a linear read-out of their tokens, paired.

    python tests/bench/expression_readout.py NAME=RUN0,RUN1,RUN2 ... --heads HEADS --photos PHOTOS
        --head HEAD [--people 200] [--csv FILE]

NAME has a pre-trained run for each seed; `random:RUN` has its sizes with the seed's random weights.
HEADS and PHOTOS are folders of `mica-ext samples` for HEAD. Tokens of the four levels that the
expression branch reads are mapped to expression, jaw, eyes, pose and camera by ridge regression
(the strength by a tenth held back). Judged on rendered people who were not trained on, by region,
as `compare-encoders` does (posed distance on their own identities), and on every sixth person of
PHOTOS, by the correlations of lid and lip distances and brows with the labels'. Differences to the
first NAME are paired over faces and seeds.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.evaluation.encoder_report import correlation_difference
from mica_ext.evaluation.encoders import JUDGES_SEED, initial_encoder
from mica_ext.evaluation.photos import MOVEMENTS
from mica_ext.evaluation.posed_errors import REGIONS, face_regions, posed_errors, region_errors
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import BranchConfig
from mica_ext.expression.network import encoder_window, head_parameters
from mica_ext.expression.training.crops import CropMaker, network_input
from mica_ext.expression.training.data import PLAIN, CropReader, FlatBatch
from mica_ext.expression.training.rendered import RenderedHeads
from mica_ext.expression.training.samples import SampleFolder
from pacofr.analysis.probe.run import interval
from pacofr.engine.batches.sampling import RankBatch
from pacofr.models.encoders import face_encoder

CHUNK = 64
EVERY = 6
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""Of the ridge, relative to the mean of the kernel's diagonal."""


class Faces(NamedTuple):
    """Crops of a set and which of them are trained on."""

    batch: FlatBatch
    train: np.ndarray


def crops(source, head: HeadModel, pixels: int, count: int) -> FlatBatch:
    """Plain crops of a source's first pictures, without what a read-out does not need."""
    maker = CropMaker(HeadDecoder(head), encoder_window(BranchConfig(), pixels), PLAIN)
    reader, parts = CropReader([source], maker, JUDGES_SEED), []
    for begin in range(0, count, CHUNK):
        rows = np.arange(begin, min(begin + CHUNK, count))
        part = reader(RankBatch(0 * rows, 0 * rows, rows))
        parts.append(part._replace(dense_px=part.dense_px[:, :0]))
    return FlatBatch(*(torch.cat(values) for values in zip(*parts, strict=True)))


@torch.no_grad()
def tokens(encoder, batch: FlatBatch) -> torch.Tensor:
    """Normalised tokens of all levels, side by side."""
    rows = []
    for part in batch.crops.split(CHUNK):
        levels = encoder(network_input(part))
        normed = [torch.nn.functional.layer_norm(level, level.shape[-1:]) for level in levels]
        rows.append(torch.cat([level.flatten(1) for level in normed], 1).half())
    return torch.cat(rows)


def targets(batch: FlatBatch) -> torch.Tensor:
    return torch.cat(batch.truth.movement[:6], 1)


def as_output(values: torch.Tensor, batch: FlatBatch) -> BranchOutput:
    sizes = [part.shape[1] for part in batch.truth.movement[:6]]
    expression, jaw, left, right, pose, camera = values.split(sizes, 1)
    return BranchOutput(expression, jaw, left, right, pose, camera, batch.shape[:, :0])


def read_out(train: torch.Tensor, wanted: torch.Tensor, others: list[torch.Tensor]):
    """Ridge predictions of `others` in the dual form."""
    mean, centre = train.float().mean(0), wanted.mean(0)
    rows = train.float() - mean
    kernel, goal = rows @ rows.T, (wanted - centre) / wanted.std(0).clamp(min=1e-3)
    held = np.arange(len(rows)) % 10 == 9
    kept = np.flatnonzero(~held)
    unit = kernel.diagonal().mean()
    errors = []
    for strength in STRENGTHS:
        own = kernel[kept][:, kept].double() + strength * unit * torch.eye(len(kept)).double()
        dual = torch.linalg.solve(own, goal[kept].double()).float()
        errors.append(float((kernel[held][:, kept] @ dual - goal[held]).square().mean()))
    strength = STRENGTHS[int(np.argmin(errors))]
    own = kernel.double() + strength * unit * torch.eye(len(rows)).double()
    dual = torch.linalg.solve(own, goal.double()).float()
    weights = rows.T @ dual
    scale = wanted.std(0).clamp(min=1e-3)
    return [(other.float() - mean) @ weights * scale + centre for other in others]


class Judge:
    """Distances by region and lid, lip and brow distances of read movements."""

    def __init__(self, head: HeadModel) -> None:
        self.head, self.decoder = head, HeadDecoder(head)
        self.regions = face_regions(self.decoder)

    @torch.no_grad()
    def meshes(self, output: BranchOutput, shape: torch.Tensor):
        zero = torch.zeros_like(output.crop_pose)
        parameters = head_parameters(output, shape, self.head.expression_bounds, zero)
        return [
            self.decoder(HeadParameters(*(values[row : row + 1] for values in parameters)))
            for row in range(len(shape))
        ]

    def posed(self, output: BranchOutput, batch: FlatBatch) -> np.ndarray:
        """[mm] by region."""
        pairs = zip(
            self.meshes(output, batch.shape),
            self.meshes(batch.truth.movement, batch.shape),
            strict=True,
        )
        return region_errors(
            [
                posed_errors(
                    found.vertices[0].double().numpy(),
                    wanted.vertices[0].double().numpy(),
                    self.regions,
                )
                for found, wanted in pairs
            ]
        )

    def movements(self, output: BranchOutput, batch: FlatBatch) -> dict[str, np.ndarray]:
        """Of frontal heads with the label's identity."""
        heads = self.meshes(output, batch.shape)
        marks = np.concatenate([mesh.landmarks.double().numpy() for mesh in heads])
        marks = marks[..., :2] * [1, -1]
        return {name: measure(marks) for name, measure in MOVEMENTS.items()}


def main() -> None:
    """Print means and paired differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoders", nargs="+", metavar="NAME=RUN,RUN,...")
    parser.add_argument("--heads", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--head", default="ict")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = load_head(options.head)
    judge, data = Judge(head), {}
    words = [word.partition("=") for word in options.encoders]
    runs = {name: rest.split(",") for name, _, rest in words}
    posed: dict[str, list[np.ndarray]] = {}
    moved: dict[str, list[dict[str, np.ndarray]]] = {}
    truth: dict[str, np.ndarray] = {}
    for seed in range(len(next(iter(runs.values())))):
        for name, folders in runs.items():
            kind, _, folder = folders[seed].rpartition(":")
            vit = initial_encoder(kind or "pacofr", Path(folder), seed)
            pixels = vit.config.image_size
            if pixels not in data:
                sets = [
                    SampleFolder(path, "train", head) for path in (options.heads, options.photos)
                ]
                people = RenderedHeads(head, JUDGES_SEED, epoch_size=options.people)
                data[pixels] = [crops(one, head, pixels, len(one)) for one in sets]
                data[pixels].append(crops(people, head, pixels, options.people))
            heads, photos, people = data[pixels]
            encoder = face_encoder(vit, BranchConfig().layers)
            rows = [tokens(encoder, batch) for batch in (heads, photos, people)]
            test = np.arange(len(photos.crops)) % EVERY == 0
            known = torch.cat([rows[0], rows[1][~test]])
            wanted = torch.cat([targets(heads), targets(photos)[~test]])
            judged = FlatBatch(*(values[test] for values in photos))
            found, seen = read_out(known, wanted, [rows[2], rows[1][test]])
            posed.setdefault(name, []).append(judge.posed(as_output(found, people), people))
            moved.setdefault(name, []).append(judge.movements(as_output(seen, judged), judged))
            truth = judge.movements(judged.truth.movement, judged)
            own = {m: np.corrcoef(v, truth[m])[0, 1] for m, v in moved[name][-1].items()}
            print(seed, name, np.nanmean(posed[name][-1], 0).round(3), own, flush=True)
    report(posed, moved, truth, options.csv)


def report(posed, moved, truth, path: Path | None) -> None:
    """Means, and differences to the first encoder with 95 % intervals."""
    first, lines = next(iter(posed)), []
    for name in posed:
        errors, base = np.stack(posed[name]), np.stack(posed[first])
        for column, region in enumerate(REGIONS):
            apart = interval(errors[:, :, column] - base[:, :, column])
            mean = float(np.nanmean(errors[:, :, column]))
            lines.append((name, f"{region} mm", mean, apart.mean, apart.half_interval))
        for measure, wanted in truth.items():
            ours, theirs = (np.stack([run[measure] for run in moved[n]]) for n in (name, first))
            mean = float(np.mean([np.corrcoef(row, wanted)[0, 1] for row in ours]))
            apart = correlation_difference(ours, theirs, wanted)
            lines.append((name, f"r of {measure}", mean, apart.mean, apart.half_interval))
    for name, measure, mean, apart, half in lines:
        print(f"{name:12} {measure:18} {mean:7.3f}  {apart:+.3f} +- {half:.3f} to {first}")
    if path is not None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["encoder", "measure", "mean", f"difference to {first}", "interval"])
            writer.writerows([(n, m, *(round(v, 4) for v in rest)) for n, m, *rest in lines])


if __name__ == "__main__":
    sys.exit(main())
