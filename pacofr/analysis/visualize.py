"""Pictures of pre-trained runs: the paper's Figure 5 (codebooks, reconstructions) and Figure 2
(aligned faces, patches grouped by the candidate they choose).

    OUT/reconstructions.png   faces; per run: what the encoder sees, what comes out
    OUT/codebook.png          per run: its tokens laid out as faces, and decoded without any photo
    OUT/aligned.png           the mean of the aligned faces and the mean by choice at some positions
                              (of the first run with a predictor)
    OUT/groups_RUN.png        per run with a predictor: real patches by the candidate they choose
    OUT/curves.png            losses and candidate usage of the runs, over images seen
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pacofr.analysis.config import ShowConfig
from pacofr.analysis.learning_curves import draw_curves, read_curves
from pacofr.errors import UserError
from pacofr.models.normalization import denormalise, normalise
from pacofr.pretraining.config import DataConfig, MaskingConfig
from pacofr.pretraining.data import ShardCrops
from pacofr.pretraining.method.codebook import patchify, restructure, unpatchify
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import PaCoFR, load_pretrained
from pacofr.utils.files import write_png
from pacofr.utils.progress import track

CELL_PX = 112
GAP_PX = 4
LABEL_PX = 176
FACE_POINTS = {
    "left eye": (0.40, 0.48),
    "right eye": (0.60, 0.48),
    "nose": (0.50, 0.58),
    "mouth": (0.50, 0.68),
    "left mouth corner": (0.43, 0.67),
}
"""Positions shown, over the unit square of an aligned crop ("left" as in the image)."""

Picture = UInt8[np.ndarray, "H W 3"]


class LoadedRun(NamedTuple):
    """A network to show."""

    name: str
    model: PaCoFR


class PictureRow(NamedTuple):
    """A labelled row of pictures."""

    label: str
    cells: list[Picture]


def visualize(config: ShowConfig) -> list[Path]:
    """Draw all pictures of some runs; returns the files written."""
    named = _names(config.runs)
    runs = [LoadedRun(name, load_pretrained(run)) for name, run in named.items()]
    crops = {
        run.name: _crops(config, run.model.config.encoder.image_size, config.faces) for run in runs
    }
    written = []

    def save(name: str, picture: Picture) -> None:
        path = config.out / name
        try:
            config.out.mkdir(parents=True, exist_ok=True)
            write_png(path, picture)
        except OSError as error:
            raise UserError(f"cannot write {path} ({error}); give another --out") from error
        written.append(path)

    save("reconstructions.png", sheet(reconstruction_rows(runs, crops, config.seed)))
    save("codebook.png", sheet([row for run in runs for row in codebook_rows(run, config.seed)]))
    lead = next((run for run in runs if run.model.predictor is not None), runs[0])
    for run in track(runs, "grouping patches"):
        images = _crops(config, run.model.config.encoder.image_size, config.grouped)
        chosen = choices(run.model, images)
        if run is lead:
            save("aligned.png", sheet(aligned_rows(run, images, chosen)))
        if chosen is not None:
            save(f"groups_{run.name}.png", sheet(group_rows(run.model, images, chosen)))
    curves = {name: read_curves(run) for name, run in named.items()}
    recorded = {name: curve for name, curve in curves.items() if curve is not None}
    if recorded:
        save("curves.png", draw_curves(recorded))
    return written


def _names(runs: tuple[Path, ...]) -> dict[str, Path]:
    """Distinct names: the folders' own, with their parents' where two are the same."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.resolve().parent.name}_{run.resolve().name}" for run in runs]
    if len(set(names)) < len(names):
        raise UserError("the runs to show must differ: a folder is named twice")
    return dict(zip(names, runs, strict=True))


def _crops(config: ShowConfig, side: int, count: int) -> UInt8[Tensor, "N 3 S S"]:
    crops = ShardCrops(config.shards, side=side, config=DataConfig(flip=False), seed=config.seed)
    order = np.random.default_rng(config.seed).permutation(len(crops))[:count]
    return torch.from_numpy(crops.read(0, np.sort(order)))


def to_pictures(patches: Float[Tensor, "B K P"], patch: int) -> list[Picture]:
    """Normalised patches to RGB pictures."""
    images = denormalise(unpatchify(patches.float(), patch)).clamp(0, 1)
    return list((images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())


@torch.no_grad()
def reconstruction_rows(
    runs: list[LoadedRun], crops: dict[str, UInt8[Tensor, "N 3 S S"]], seed: int
) -> list[PictureRow]:
    """The same faces under the same masks for all runs of one grid."""
    rows = []
    for run in runs:
        images, settings = crops[run.name], run.model.config
        masks = sample_masks(
            seed, 0, np.arange(len(images)), settings, MaskingConfig(), incubation=False
        )
        mask, *others = (torch.from_numpy(part) for part in masks)
        output = run.model(images / 255, mask, *others)
        inputs = restructure(output.target, run.model.codebook(), output.chosen, mask)
        patch = settings.encoder.patch_size
        if not rows:
            rows.append(PictureRow("face", to_pictures(output.target, patch)))
        rows.append(PictureRow(f"{run.name}\ninput", to_pictures(inputs, patch)))
        rows.append(PictureRow("output", to_pictures(output.prediction, patch)))
    return rows


@torch.no_grad()
def codebook_rows(run: LoadedRun, seed: int, mixes: int = 4) -> list[PictureRow]:
    """Faces made of tokens alone: candidate j everywhere, then random mixtures; and decoded."""
    tokens = run.model.codebook()
    positions, candidates, _ = tokens.shape
    pure = torch.arange(candidates)[:, None].expand(-1, positions)
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randint(candidates, (mixes, positions), generator=generator)
    choice = torch.cat([pure, mixed]) if candidates > 1 else pure
    faces = tokens[torch.arange(positions), choice]
    patch = run.model.config.encoder.patch_size
    columns = f" 1 to {candidates},\nthen mixed" if candidates > 1 else ""
    return [
        PictureRow(f"{run.name}\ntokens{columns}", to_pictures(faces, patch)),
        PictureRow("decoded", to_pictures(run.model.reconstruct(faces), patch)),
    ]


@torch.no_grad()
def choices(
    model: PaCoFR, images: UInt8[Tensor, "N 3 S S"], batch: int = 256
) -> Int64[Tensor, "N K"] | None:
    """The candidate that the predictor chooses for every patch; None without a predictor, or with
    one that does not read the patch itself."""
    if model.predictor is None or model.config.predictor.reads != "patch":
        return None
    patch = model.config.encoder.patch_size
    parts = (patchify(normalise(part / 255), patch) for part in images.split(batch))
    return torch.cat(
        [
            model.predictor(part, part.new_ones(part.shape[:2], dtype=torch.bool)).argmax(dim=-1)
            for part in parts
        ]
    )


def aligned_rows(
    run: LoadedRun, images: UInt8[Tensor, "N 3 S S"], chosen: Int64[Tensor, "N K"] | None
) -> list[PictureRow]:
    """Figure 2a: what alignment does to the mean; and the mean of those that choose alike."""
    rows = [PictureRow(f"{len(images)} faces", [_mean_face(images)])]
    if chosen is None:
        return rows
    for name, point in FACE_POINTS.items():
        position = _position(run.model, point)
        rows.append(PictureRow(name, []))
        for number in range(run.model.config.codebook.candidates):
            members = chosen[:, position] == number
            if bool(members.any()):
                rows[-1].cells.append(_mean_face(images[members]))
    return rows


def group_rows(
    model: PaCoFR,
    images: UInt8[Tensor, "N 3 S S"],
    chosen: Int64[Tensor, "N K"],
    examples: int = 10,
) -> list[PictureRow]:
    """Figure 2b: the token, then real patches (with their surroundings) that choose it."""
    encoder = model.config.encoder
    patch = encoder.patch_size
    tokens = to_pictures(model.codebook().detach().transpose(0, 1), patch)  # n faces of tokens
    rows = []
    for name, point in FACE_POINTS.items():
        position = _position(model, point)
        y, x = (patch * part for part in divmod(position, encoder.grid))
        for number in range(model.config.codebook.candidates):
            members = images[chosen[:, position] == number]
            cells = [tokens[number][y : y + patch, x : x + patch]]
            around = members[:, :, y - patch : y + 2 * patch, x - patch : x + 2 * patch]
            if len(around):
                cells.append(_mean_face(around))
                cells += list(around[:examples].permute(0, 2, 3, 1).numpy())
            fraction = len(members) / len(images)
            rows.append(PictureRow(f"{name}\n{number + 1}: {fraction:.0%}", cells))
    return rows


def _mean_face(images: UInt8[Tensor, "N 3 S T"]) -> Picture:
    return images.float().mean(dim=0).round().byte().permute(1, 2, 0).numpy()


def _position(model: PaCoFR, point: tuple[float, float]) -> int:
    grid = model.config.encoder.grid
    return int(point[1] * grid) * grid + int(point[0] * grid)


def sheet(rows: list[PictureRow]) -> Picture:
    """A contact sheet with a label in front of each row."""
    columns = max(len(row.cells) for row in rows)
    step = CELL_PX + GAP_PX
    paper = Image.new("RGB", (LABEL_PX + columns * step, len(rows) * step), "white")
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(size=12)
    for number, row in enumerate(rows):
        top = number * step
        pen.multiline_text((4, top + 40), _wrapped(row.label), fill="black", font=font)
        for column, cell in enumerate(row.cells):
            how = Image.Resampling.NEAREST if len(cell) < CELL_PX / 2 else Image.Resampling.LANCZOS
            face = Image.fromarray(np.ascontiguousarray(cell)).resize((CELL_PX, CELL_PX), how)
            paper.paste(face, (LABEL_PX + column * step, top))
    return np.asarray(paper)


def _wrapped(label: str, width: int = 24) -> str:
    lines = label.split("\n")
    starts = [(line, start) for line in lines for start in range(0, len(line), width)]
    return "\n".join(line[start : start + width] for line, start in starts)
