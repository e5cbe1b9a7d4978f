"""Training of the 68-landmark network on pacofr's engine (folder of a run: `engine.checkpoint`).

Two stages: annotated photos alone; then photos, partly with local warps, and rendered heads. The
exponential moving average of the weights is published. Crops are functions of (seed, epoch, index),
so a run that was killed and resumed gives the weights of one that was not.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mica_ext.errors import UserError
from mica_ext.landmarks.annotated_photos import LabelledPhoto, read_labelled
from mica_ext.landmarks.config import LandmarkTrainingConfig
from mica_ext.landmarks.network import CROP_PER_CELL, LandmarkNetwork, marginals
from mica_ext.landmarks.samples import sample_crop
from mica_ext.landmarks.weights import save_landmark_network
from pacofr.engine.checkpoint import Progress, checkpoints
from pacofr.engine.distributed import World, process_group
from pacofr.engine.sampling import MixturePlan, MixtureSource, RankBatch
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.engine.task import RunOptions, Stage, StageData, TrainerConfig, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.faces.align import CROP_PX
from pacofr.faces.landmarks68 import MIRROR, OUTER_LIPS, nme
from pacofr.models.global_batch_norm import use_global_batch_norm
from pacofr.utils.progress import track

HEATMAP_SIGMA = 1.2
"""Standard deviation of the target heat maps [cells]."""
HEATMAP_WEIGHT = 0.15
"""Weight of the heat maps' cross-entropy beside the points' distance."""
MOUTH_WEIGHT = 2.0
"""Weight of the mouth's points in the mixed stage: they carry expression and converge last."""
WARP_PROBABILITY = 0.6
"""Probability of a local warp of a photo in the mixed stage."""
EMA_DECAY = 0.998
CLIP_NORM = 5.0
WEIGHT_DECAY = 0.02
RESUME_MAY_CHANGE = frozenset({"threads", "save_every"})
"""Config fields that may differ on resume because they do not affect results."""


class LandmarkBatch(NamedTuple):
    """Views of the network's input size and landmarks in pixels of the face crop."""

    views: UInt8[Tensor, "b 128 128 3"]
    points: Float[Tensor, "b 68 2"]


@dataclass(frozen=True, kw_only=True)
class CropSource:
    """Annotated photos of one kind."""

    photos: Sequence[LabelledPhoto]
    rng_stream: int
    """Distinguishes the random draws of different sources under the same seed."""
    warp_probability: float = 0.0


class CropReader:
    """Samples one augmented crop per (source, epoch, index)."""

    def __init__(self, sources: Sequence[CropSource], seed: int) -> None:
        self.sources, self.seed = sources, seed

    def __call__(self, batch: RankBatch) -> LandmarkBatch:
        """The tensors of a step."""
        crops = []
        for number, epoch, index in zip(*(column.tolist() for column in batch), strict=True):
            source = self.sources[number]
            p = source.warp_probability
            rng = np.random.default_rng((self.seed, source.rng_stream, epoch, index))
            crops.append(sample_crop(source.photos, index, rng, warp_probability=p))
        views = torch.from_numpy(np.stack([crop.view for crop in crops]))
        return LandmarkBatch(views, torch.from_numpy(np.stack([crop.points for crop in crops])))


class ViewNetwork(nn.Module):
    """The network from its input views to heat maps, as it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.network = LandmarkNetwork()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, views: UInt8[Tensor, "B 128 128 3"]) -> Float[Tensor, "B 68 1024"]:
        """RGB views to heat-map logits."""
        return self.network.logits(views.permute(0, 3, 1, 2).float() / 255)


def landmark_loss(
    network: LandmarkNetwork,
    logits: Float[Tensor, "B 68 1024"],
    points: Float[Tensor, "B 68 2"],
    mouth_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Distance of the points [cells] plus cross-entropy of the heat maps' marginals.

    Args:
        network: whose heat maps they are.
        logits: of the heat maps.
        points: the truth, in pixels of the face crop.
        mouth_weight: weight of the mouth's points over that of others.
    """
    columns, rows = marginals(logits)
    off = (network.soft_argmax(columns, rows) - points) / CROP_PER_CELL
    distance = (off.square().sum(-1) + 1e-4).sqrt()
    cells = (network.cell_centres - points[..., None]) / (CROP_PER_CELL * HEATMAP_SIGMA)
    target = (-0.5 * cells.square()).softmax(-1)  # [B, 68, 2, 32]
    entropy = -(target * (torch.stack([columns, rows], 2) + 1e-6).log()).sum((-1, -2))
    weight = torch.ones(68, device=points.device)
    weight[OUTER_LIPS.start :] = mouth_weight
    return ((distance + HEATMAP_WEIGHT * entropy) * (weight / weight.mean())).mean()


@torch.no_grad()
def predict(
    network: LandmarkNetwork, views: Float[Tensor, "B 3 128 128"], flip: bool = False
) -> Float[Tensor, "B 68 2"]:
    """Points in crop pixels; with `flip` the mean over the view and its mirror image."""
    points = network.decode(network.logits(views))
    if flip:
        mirrored = network.decode(network.logits(views.flip(-1)))[:, torch.from_numpy(MIRROR)]
        points = 0.5 * (
            points + torch.stack([CROP_PX - 1 - mirrored[..., 0], mirrored[..., 1]], -1)
        )
    return points


def validation_nme(network: LandmarkNetwork, photos: Sequence[LabelledPhoto]) -> float:
    """Mean NME on centred crops [% of the outer eye corners' distance]."""
    rng = np.random.default_rng(0)
    crops = [sample_crop(photos, i, rng, augment=False) for i in range(len(photos))]
    views = torch.from_numpy(np.stack([crop.view for crop in crops]))
    points = np.stack([crop.points for crop in crops])
    predicted = predict(network, views.permute(0, 3, 1, 2).float() / 255)
    return float(nme(predicted.numpy(), points).mean())


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Warm-up over 100 steps, then a half cosine to a hundredth of `peak`."""
    warm_up = min(1.0, (step + 1) / 100)
    return peak * warm_up * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


class LandmarkTraining(TrainingTask[LandmarkBatch]):
    """The two stages of training the landmark network."""

    resume_may_change = RESUME_MAY_CHANGE

    def __init__(
        self, config: LandmarkTrainingConfig, photos: Sequence[LabelledPhoto], world: World
    ) -> None:
        order = np.random.default_rng(config.seed).permutation(len(photos))
        self.held_out = [photos[i] for i in order[: config.holdout]]
        self.photos = [photos[i] for i in order[config.holdout :]]
        self.config = config
        steps = max(1, config.photo_epochs * len(self.photos) // config.batch)
        stages = (Stage("photos", steps), Stage("mixed", config.mixed_steps, restart=True))
        self.stages = tuple(stage for stage in stages if stage.steps)
        options = asdict(config)
        del options["helen"], options["out"]
        self.run_config = {
            **options,
            "photos": {"count": len(self.photos), "fingerprint": _fingerprint(self.photos)},
        }
        torch.manual_seed(config.seed)
        self.model = self.view_network = ViewNetwork()
        if world.size > 1:
            use_global_batch_norm(self.model)
        self.score = "not measured"

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.model.parameters(), weight_decay=WEIGHT_DECAY)

    def data(self, stage: Stage) -> StageData[LandmarkBatch]:
        """Photos; in the mixed stage an eighth of the crops is of rendered heads."""
        config = self.config
        if stage.name == "photos":
            sources, counts = [CropSource(photos=self.photos, rng_stream=1)], [config.batch]
        else:
            sources = [
                CropSource(photos=self.photos, rng_stream=2, warp_probability=WARP_PROBABILITY),
                CropSource(photos=rendered_heads(config.heads, config.seed), rng_stream=3),
            ]
            counts = [config.batch - config.batch // 8, config.batch // 8]
        plan = MixturePlan(
            tuple(
                MixtureSource(len(source.photos), count, source.rng_stream)
                for source, count in zip(sources, counts, strict=True)
            ),
            seed=config.seed,
            first_step=self._first_step(stage),
        )
        return StageData(plan, CropReader(sources, config.seed))

    def _first_step(self, stage: Stage) -> int:
        return sum(other.steps for other in self.stages[: self.stages.index(stage)])

    def learning_rate(self, step: int) -> float:
        """Each stage has a schedule of its own."""
        stage = next(s for s in reversed(self.stages) if step >= self._first_step(s))
        config = self.config
        peak = config.learning_rate if stage.name == "photos" else config.mixed_learning_rate
        return learning_rate(peak, step - self._first_step(stage), stage.steps)

    def loss(self, forward: nn.Module, batch: LandmarkBatch, stage: Stage) -> StepLoss:
        """`landmark_loss`; only the network itself runs in bf16."""
        logits = forward(batch.views)
        weight = 1.0 if stage.name == "photos" else MOUTH_WEIGHT
        with torch.autocast(logits.device.type, enabled=False):
            loss = landmark_loss(self.view_network.network, logits, batch.points, weight)
        return StepLoss({"loss": loss})

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """NME of the photos held out."""
        if not self.held_out:
            return {}
        assert isinstance(model, ViewNetwork)
        error = validation_nme(model.network, self.held_out)
        self.score = f"{error:.2f} % on {len(self.held_out)} photos held out"
        return {"held_out": round(error, 3)}

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """The stage, and the seconds spent in training."""
        return {"phase": stage.name, "seconds": round(progress.seconds)}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write float16 weights with the command that makes them."""
        assert isinstance(model, ViewNetwork)
        save_landmark_network(
            model.network,
            folder,
            name="landmarks68",
            command=f"mica-ext train-landmarks{_flags(self.config)}",
            seed=self.config.seed,
            score=self.score,
        )


def _flags(config: LandmarkTrainingConfig) -> str:
    """The flags that differ from their defaults, without the machine's paths."""
    defaults = {field.name: field.default for field in fields(config)}
    changed = {name: value for name, value in asdict(config).items() if value != defaults[name]}
    changed |= {"helen": "HELEN/trainset", "out": "RUN"}
    return "".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items())


def _fingerprint(photos: Sequence[LabelledPhoto]) -> str:
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(repr(photo.image.shape).encode() + photo.points.tobytes())
    return digest.hexdigest()


def rendered_heads(count: int, seed: int) -> list[LabelledPhoto]:
    """Heads of Anthro as labelled photos; the same ones for the same seed."""
    from flame_assets.store import load_head
    from mica_ext.data.synthetic.faces import SyntheticFaces

    faces = SyntheticFaces(load_head("anthro"), seed=seed)
    samples = (faces.sample(index) for index in track(range(count), "heads"))
    return [LabelledPhoto(face.image, face.landmarks_px) for face in samples]


def trainer_config(config: LandmarkTrainingConfig) -> TrainerConfig:
    """How the engine carries out the training."""
    return TrainerConfig(
        precision="bf16",
        clip_norm=CLIP_NORM,
        ema_decay=EMA_DECAY,
        save_steps=config.save_every,
        validate_steps=config.save_every,
    )


def train(config: LandmarkTrainingConfig) -> int:
    """Train, or go on with a run; the process's exit code: 0 done, 143 after SIGTERM.

    Raises:
        UserError: the photos or the run's folder cannot be used; the run began with other options.
    """
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(config.threads)
    old = config.out / "photos.pt"
    if old.exists() and not checkpoints(config.out):
        raise UserError(
            f"{old}: expected checkpoints of this version, got one of an earlier version; give"
            " another --out to train anew"
        )
    photos = [photo for _, photo in read_labelled(config.helen)]
    if config.holdout >= len(photos):
        raise UserError(
            f"{config.helen}: expected more photos than --holdout {config.holdout}, found "
            f"{len(photos)}: lower --holdout"
        )
    with process_group("cpu") as world:
        task = LandmarkTraining(config, photos, world)
        return fit(task, trainer_config(config), RunOptions(out=config.out, device="cpu"), world)
