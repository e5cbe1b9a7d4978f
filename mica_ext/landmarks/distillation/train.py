"""Training of the dense landmark network on pacofr's engine (folder of a run: `engine.checkpoint`).

A teacher labels the photos first. The network learns to see the whole face in small crops, then to
look at eyes and mouth in full crops, last to tell the confidences of the points that result, which
stay as they are. The moving average of the weights is published.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import cv2
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from flame_assets.download.catalogue import require_asset
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.landmarks.config import LandmarkTrainingConfig
from mica_ext.landmarks.distillation.data import (
    CropBatch,
    CropReader,
    TrainingFaces,
    decoder_regression,
    eye_distances,
    inference_crops,
    split_faces,
)
from mica_ext.landmarks.distillation.face_store import FaceStore, load_store, save_store
from mica_ext.landmarks.distillation.labels import label_photos
from mica_ext.landmarks.distillation.losses import Targets, landmark_loss
from mica_ext.landmarks.distillation.rendered_heads import rendered_heads
from mica_ext.landmarks.distillation.samples import (
    CONFIDENCE_ODDS,
    POINT_ODDS,
    SETTLED_ODDS,
    CropOdds,
)
from mica_ext.landmarks.student.network import INPUT, WHOLE, LandmarkNetwork, LandmarkOutput
from mica_ext.landmarks.student.weights import (
    read_landmark_config,
    read_landmark_network,
    save_landmark_network,
)
from pacofr.engine.batches.sampling import MixturePlan, MixtureSource
from pacofr.engine.checkpoint import Progress
from pacofr.engine.distributed import World, process_group
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.engine.task import RunOptions, Stage, StageData, TrainerConfig, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.faces.face_mesh.network import FaceMeshNetwork
from pacofr.faces.face_mesh.task_file import load_face_mesh
from pacofr.models.global_batch_norm import use_global_batch_norm

RARE_SHARE, SHARP_SHARE, HEADS_SHARE = 6, 6, 10
"""One crop in so many is of a rare face, of a sharp one, of a rendered head."""
EMA_DECAY = 0.998
CLIP_NORM = 5.0
WEIGHT_DECAY = 0.02
WARM_UP = 200
"""Steps in which the learning rate rises."""
LAST_RATE = 0.01
"""Of the peak, at the end."""
DECODER_FACES = 6000
"""Faces from which the decoder's start is computed."""
RESUME_MAY_CHANGE = frozenset({"threads", "save_minutes", "validate_every"})
NOT_COMPARED = ("photos", "out", "teacher_file", "init_from", "licence", "device", "workers")
"""Places, whose contents are compared by fingerprints, and what changes no weight but by rounding.
"""


class TrainedNetwork(nn.Module):
    """The network on 8-bit crops, as it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.network = LandmarkNetwork()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, crops: UInt8[Tensor, "B S S 3"]) -> LandmarkOutput:
        """RGB crops to points and confidences; small ones are seen as a whole only."""
        scaled = crops.permute(0, 3, 1, 2).float() / 255
        return self.network.whole(scaled) if crops.shape[1] == WHOLE else self.network(scaled)


class LandmarkTraining(TrainingTask[CropBatch]):
    """The three stages of training."""

    resume_may_change = RESUME_MAY_CHANGE

    def __init__(self, config: LandmarkTrainingConfig, faces: TrainingFaces, world: World) -> None:
        self.config, self.faces = config, faces
        stages = (
            Stage("whole", config.whole_steps),
            Stage("parts", config.parts_steps, restart=True),
            Stage("confidence", config.confidence_steps, restart=True),
        )
        self.stages = tuple(stage for stage in stages if stage.steps)
        options = {k: v for k, v in asdict(config).items() if k not in NOT_COMPARED}
        self.run_config = {**options, "faces": faces.fingerprint, "init_from": _digest(config)}
        torch.manual_seed(config.seed)
        self.model = self.trained = TrainedNetwork()
        if world.size > 1:
            use_global_batch_norm(self.model)
        self.device = world.device
        self.held_out = {
            size: inference_crops(faces.photos, faces.held_out, size) for size in (WHOLE, INPUT)
        }
        self.size = WHOLE
        self.score = "not measured"

    def initialize(self) -> None:
        """Start from `--init-from`, or the map from key points to all points by regression."""
        if self.config.init_from is not None:
            read_landmark_network(self.trained.network, self.config.init_from)
            return
        known = self.faces.common[:DECODER_FACES]
        points = inference_crops(self.faces.photos, known, INPUT).points
        weight, bias = decoder_regression(points)
        with torch.no_grad():
            self.trained.network.whole.decoder.weight.copy_(weight)
            self.trained.network.whole.decoder.bias.copy_(bias)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW; on a GPU in one kernel, which lets the host run ahead of the steps."""
        fused = self.device.type == "cuda"
        return torch.optim.AdamW(self.model.parameters(), weight_decay=WEIGHT_DECAY, fused=fused)

    def data(self, stage: Stage) -> StageData[CropBatch]:
        """Photos, rare and sharp ones among them more often, and rendered heads."""
        size = WHOLE if stage.name == "whole" else INPUT
        odds = {"whole": POINT_ODDS, "parts": SETTLED_ODDS, "confidence": CONFIDENCE_ODDS}
        return self._mixture(size, odds[stage.name])

    def _mixture(self, size: int, odds: CropOdds) -> StageData[CropBatch]:
        faces, batch, seed = self.faces, self.config.batch, self.config.seed
        rare, sharp, heads = (
            max(1, batch // share) for share in (RARE_SHARE, SHARP_SHARE, HEADS_SHARE)
        )
        sources = (
            MixtureSource(len(faces.common), batch - rare - sharp - heads, 0),
            MixtureSource(len(faces.rare), rare, 1),
            MixtureSource(len(faces.heads), heads, 2),
            MixtureSource(len(faces.sharp), sharp, 3),
        )
        return StageData(MixturePlan(sources, seed=seed), CropReader(faces, size, seed, odds))

    def learning_rate(self, step: int) -> float:
        """In each stage a warm-up, then constant until its middle, then linear to `LAST_RATE`."""
        for stage in self.stages:
            if step < stage.steps:
                break
            step -= stage.steps
        rise = min(1.0, (step + 1) / min(WARM_UP, stage.steps))
        left = 2 * (1 - step / stage.steps)
        return self.config.learning_rate * rise * min(1.0, max(left, LAST_RATE))

    def begin_stage(self, stage: Stage) -> None:
        """All rests but what the stage trains."""
        network = self.trained.network
        network.requires_grad_(False).eval()
        trained = {
            "whole": (network.whole,),
            "parts": (network.whole, network.eye, network.mouth),
            "confidence": (network.confidence, network.whole.confidence),
        }[stage.name]
        for module in trained:
            module.requires_grad_(True).train()
        network.patch_gain.requires_grad_(stage.name == "parts")
        self.size = WHOLE if stage.name == "whole" else INPUT

    def loss(self, forward: nn.Module, batch: CropBatch, stage: Stage) -> StepLoss:
        """`landmark_loss`; only the convolutions run in bf16."""
        output = forward(batch.crops)
        with torch.autocast(batch.crops.device.type, enabled=False):
            loss = landmark_loss(output, Targets(*batch[1:]))
        return StepLoss(loss._asdict())

    @torch.inference_mode()
    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Distance from the teacher's points on the faces kept out [% of the eye distance]."""
        crops, truth = self.held_out[self.size]
        if not len(crops):
            return {}
        points = torch.cat([model(some.to(self.device)).points.cpu() for some in crops.split(32)])
        distances = (points - truth).norm(dim=-1).mean(1)
        errors = 100 * distances / eye_distances(truth)
        mean, median = float(errors.mean()), float(errors.median())
        self.score = (
            f"{mean:.2f} % of the eye distance from the teacher's points on "
            f"{len(points)} faces held out, median {median:.2f} %"
        )
        return {"held_out": round(mean, 3), "held_out_median": round(median, 3)}

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """The stage, and the seconds spent in training."""
        return {"stage": stage.name, "seconds": round(progress.seconds)}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write float16 weights with the command that makes them."""
        assert isinstance(model, TrainedNetwork)
        save_landmark_network(
            model.network,
            folder,
            licence=self.config.licence,
            command=f"mica-ext train-landmarks{_flags(self.config)}",
            seed=self.config.seed,
            score=self.score,
        )


def train(config: LandmarkTrainingConfig) -> int:
    """Label, train, or go on with a run; the process's exit code: 0 done, 143 after SIGTERM.

    Raises:
        UserError: the teacher, the photos or the run's folder cannot be used; the run began with
            other options.
    """
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(config.threads)
    teacher = load_face_mesh(config.teacher_file or require_asset(config.teacher))
    photos = label_photos(config.photos, teacher, config.out / "faces")
    if config.holdout >= len(photos):
        raise UserError(
            f"{config.photos[0]}: expected more faces than --holdout {config.holdout}, found "
            f"{len(photos)}: give more photos or lower --holdout"
        )
    heads = _heads(config, teacher)
    faces = split_faces(photos, heads, config.holdout, config.seed)
    with process_group(config.device) as world:
        task = LandmarkTraining(config, faces, world)
        options = RunOptions(out=config.out, device=config.device)
        return fit(task, trainer_config(config), options, world)


def trainer_config(config: LandmarkTrainingConfig) -> TrainerConfig:
    """How the engine carries out the training."""
    return TrainerConfig(
        precision="bf16",
        clip_norm=CLIP_NORM,
        ema_decay=EMA_DECAY,
        workers=config.workers,
        save_minutes=config.save_minutes,
        validate_steps=config.validate_every,
    )


def _heads(config: LandmarkTrainingConfig, teacher: FaceMeshNetwork) -> FaceStore:
    """Rendered heads, kept in the run's folder."""
    path = config.out / "faces" / f"heads_{config.heads}_{config.seed}.safetensors"
    if not path.exists():
        save_store(rendered_heads(load_head("anthro"), teacher, config.heads, config.seed), path)
    return load_store(path)


def _digest(config: LandmarkTrainingConfig) -> str | None:
    """sha256 of the weights to go on from."""
    return None if config.init_from is None else read_landmark_config(config.init_from).sha256


def _flags(config: LandmarkTrainingConfig) -> str:
    """The flags that differ from their defaults, without the machine's paths."""
    defaults = {field.name: field.default for field in fields(config)}
    chosen = asdict(config).items()
    changed = {k: v for k, v in chosen if k not in NOT_COMPARED and v != defaults[k]}
    given = "".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items())
    digest = _digest(config)
    start = "" if digest is None else f" --init-from WEIGHTS_{digest[:12]}"
    return f" --photos PHOTOS --out RUN{start}{given}"
