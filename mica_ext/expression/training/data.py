"""What the expression branch is trained and measured on: rendered heads and folders of samples."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from mica_ext.errors import UserError
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import CropChanges, ExpressionTrainingConfig
from mica_ext.expression.training.crops import CropMaker, LabelledPicture, TrainingCrops
from mica_ext.expression.training.losses import Truth
from mica_ext.expression.training.rendered import RenderedHeads
from mica_ext.expression.training.samples import SampleFolder
from pacofr.engine.batches.sampling import MixturePlan, MixtureSource, RankBatch
from pacofr.faces.align import CropWindow

HELD_OUT_SEED = 1 << 20
"""Added to the seed for the faces to measure on: other people, other light."""
PLAIN = CropChanges(occlusion=0.0, light=0.0, mirrored=0.0)
"""What is measured on: crops as a detector's points cut them."""

PictureSource = Callable[[int, int], LabelledPicture]
"""A labelled picture by epoch and index."""


class FlatBatch(NamedTuple):
    """`TrainingCrops` as tensors side by side, as the engine slices them."""

    crops: UInt8[Tensor, "B S S 3"]
    shape: Float[Tensor, "B n"]
    expression: Float[Tensor, "B E"]
    jaw_pose: Float[Tensor, "B 3"]
    left_eye_pose: Float[Tensor, "B 3"]
    right_eye_pose: Float[Tensor, "B 3"]
    crop_pose: Float[Tensor, "B 3"]
    crop_camera: Float[Tensor, "B 3"]
    points_px: Float[Tensor, "B 68 2"]
    confidence: Float[Tensor, "B 68"]
    has_3d: Float[Tensor, " B"]
    dense_px: Float[Tensor, "B 468 2"]
    dense_confidence: Float[Tensor, "B 468"]
    arcface: Float[Tensor, "B 3 A A"]
    has_shape: Float[Tensor, " B"]

    @classmethod
    def of(cls, samples: TrainingCrops) -> "FlatBatch":
        """The same samples."""
        truth = samples.truth
        assert truth.dense_px is not None
        assert truth.dense_confidence is not None
        others = (
            truth.points_px,
            truth.confidence,
            truth.has_3d,
            truth.dense_px,
            truth.dense_confidence,
        )
        identity = (samples.arcface, samples.has_shape)
        return cls(samples.crops, truth.shape, *truth.movement[:6], *others, *identity)

    @property
    def truth(self) -> Truth:
        """What is known of the crops."""
        movement = BranchOutput(*self[2:8], self.shape[:, :0])
        return Truth(self.shape, movement, *self[8:-2])


class CropReader:
    """Crops of a step: a function of (seed, source, epoch, index)."""

    def __init__(self, sources: Sequence[PictureSource], crops: CropMaker, seed: int) -> None:
        self.sources, self.crops, self.seed = tuple(sources), crops, seed

    def __call__(self, batch: RankBatch) -> FlatBatch:
        """The samples of a step."""
        faces, rngs = [], []
        for source, epoch, index in zip(*(column.tolist() for column in batch), strict=True):
            faces.append(self.sources[source](epoch, index))
            rngs.append(np.random.default_rng((self.seed, source, epoch, index)))
        return FlatBatch.of(self.crops(faces, rngs))


class TrainingData(NamedTuple):
    """Batches to train on, and what to measure on."""

    plan: MixturePlan
    reader: CropReader
    rendered: FlatBatch
    """Rendered faces of other people."""
    held_out: FlatBatch | None
    """People of the folders' val/, where there are some."""


def make_data(
    config: ExpressionTrainingConfig, head: HeadModel, window: CropWindow
) -> TrainingData:
    """Open the folders of `config` and render the faces to measure on.

    Raises:
        UserError: a folder cannot be used, or the batch is too small for so many.
    """
    decoder, arcface = HeadDecoder(head), config.joint
    folders = [
        SampleFolder(folder, "train", head, keep_mb=config.keep_mb) for folder in config.data
    ]
    rendered = RenderedHeads(head, config.seed, epoch_size=config.faces)
    shares = batch_shares(config, [len(folder) for folder in folders])
    sizes = [config.faces, *map(len, folders)]
    chosen = [number for number, share in enumerate(shares) if share]
    everything: list[PictureSource] = [rendered, *folders]
    plan = MixturePlan(
        tuple(MixtureSource(sizes[number], shares[number], number) for number in chosen),
        seed=config.seed,
    )
    reader = CropReader(
        [everything[number] for number in chosen],
        CropMaker(decoder, window, config.changes, arcface=arcface),
        config.seed,
    )
    plain = CropMaker(decoder, window, PLAIN, arcface=arcface)
    other = RenderedHeads(head, config.seed + HELD_OUT_SEED, epoch_size=config.faces)
    rows = _first(config.held_out)
    people = [
        CropReader([folder], plain, config.seed)(_first(min(config.held_out, len(folder))))
        for folder in (SampleFolder(path, "val", head) for path in config.data if _has_val(path))
    ]
    held_out = None
    if people:
        held_out = FlatBatch(*(torch.cat(parts) for parts in zip(*people, strict=True)))
    return TrainingData(plan, reader, CropReader([other], plain, config.seed)(rows), held_out)


def batch_shares(config: ExpressionTrainingConfig, samples: Sequence[int]) -> list[int]:
    """Faces of a batch that are rendered, and of each folder with so many samples.

    Raises:
        UserError: the batch is too small for a sample of each.
    """
    if not samples:
        return [config.batch]
    weights = np.array(config.data_weights or samples, np.float64)
    wanted = np.append(config.rendered, (1 - config.rendered) * weights / weights.sum())
    wanted *= config.batch
    counts = np.floor(wanted + 1e-9).astype(int)
    counts[(wanted > 0) & (counts == 0)] = 1
    while counts.sum() != config.batch:  # largest remainders
        step = 1 if counts.sum() < config.batch else -1
        can = counts > 1 if step < 0 else wanted > 0
        if not can.any():
            raise UserError(
                f"--batch {config.batch}: expected a sample at least of each source; give fewer "
                "folders of --data or a larger batch"
            )
        gaps = np.where(can, step * (wanted - counts), -np.inf)
        counts[int(gaps.argmax())] += step
    return counts.tolist()


def _first(count: int) -> RankBatch:
    zero = np.zeros(count, np.int64)
    return RankBatch(zero, zero, np.arange(count))


def _has_val(folder: Path) -> bool:
    return (folder / "val").is_dir()
