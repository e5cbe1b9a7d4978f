"""Training of the expression branch on pacofr's engine (folder of a run: `engine.checkpoint`)."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flame_assets.model.fingerprint import weighted_sum
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import load_head
from mica_ext.errors import UserError
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import ExpressionTrainingConfig
from mica_ext.expression.losses import ExpressionLoss, Truth
from mica_ext.expression.network import ExpressionNetwork
from mica_ext.expression.rendered import RenderedCrops, TrainingCrops
from mica_ext.expression.weights import save_expression_network
from pacofr.engine.checkpoint import Progress
from pacofr.engine.distributed import World, process_group
from pacofr.engine.optim import learning_rate, make_adamw
from pacofr.engine.sampling import MixturePlan, MixtureSource, RankBatch
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.engine.task import RunOptions, Stage, StageData, TrainerConfig, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.models.encoders import load_encoder
from pacofr.models.vit import VisionTransformer

NAME = "expression"
CLIP_NORM = 5.0
RESUME_MAY_CHANGE = frozenset(
    {"workers", "save_minutes", "validate_every", "tensorboard", "device"}
)
NOT_COMPARED = ("out", "encoder_weights", "head", "licence")
"""Places, whose numbers are compared, and what changes no weight."""
HELD_OUT_SEED = 1 << 20
"""Added to the seed for the faces to measure on: other people, other light."""
VALIDATION_BATCH = 16


class FlatBatch(NamedTuple):
    """`TrainingCrops` as tensors side by side, as the engine slices them."""

    crops: Float[Tensor, "B 3 224 224"]
    shape: Float[Tensor, "B S"]
    expression: Float[Tensor, "B E"]
    jaw_pose: Float[Tensor, "B 3"]
    left_eye_pose: Float[Tensor, "B 3"]
    right_eye_pose: Float[Tensor, "B 3"]
    crop_pose: Float[Tensor, "B 3"]
    crop_camera: Float[Tensor, "B 3"]
    points_px: Float[Tensor, "B 68 2"]
    confidence: Float[Tensor, "B 68"]
    has_3d: Float[Tensor, " B"]

    @classmethod
    def of(cls, samples: TrainingCrops) -> "FlatBatch":
        """The same samples."""
        truth = samples.truth
        others = (truth.points_px, truth.confidence, truth.has_3d)
        return cls(samples.crops, truth.shape, *truth.movement, *others)

    @property
    def truth(self) -> Truth:
        """What is known of the crops."""
        return Truth(self.shape, BranchOutput(*self[2:8]), *self[8:])


class FlatReader:
    """A reader of `TrainingCrops` for the engine."""

    def __init__(self, crops: RenderedCrops) -> None:
        self.crops = crops

    def __call__(self, batch: RankBatch) -> FlatBatch:
        """The samples of a step."""
        return FlatBatch.of(self.crops(batch))


class ExpressionTraining(TrainingTask[FlatBatch]):
    """One stage: the multi-task loss on rendered faces."""

    resume_may_change = RESUME_MAY_CHANGE

    def __init__(
        self,
        config: ExpressionTrainingConfig,
        vit: VisionTransformer,
        head: HeadModel,
        world: World,
    ) -> None:
        self.config, self.head = config, head
        self.stages = (Stage("branch", config.steps),)
        torch.manual_seed(config.seed)
        self.model = self.network = ExpressionNetwork(
            vit, config.branch, head.expression_count, tuned=config.tuned
        )
        self.multi_task = ExpressionLoss(HeadDecoder(head), config.weights).to(world.device)
        self.crops = RenderedCrops(head, config.seed, epoch_size=config.faces)
        other = RenderedCrops(head, config.seed + HELD_OUT_SEED, epoch_size=config.faces)
        held_out = [other.sample(number) for number in range(config.held_out)]
        flat = [FlatBatch.of(sample) for sample in held_out]
        self.held_out = FlatBatch(*(torch.cat(parts) for parts in zip(*flat, strict=True)))
        self.device = world.device
        self.score = "not measured"
        options = {k: v for k, v in asdict(config).items() if k not in NOT_COMPARED}
        embedding = vit.patch_embed.proj.weight.detach().cpu().double().numpy()
        self.run_config = {
            **options,
            "head_expression_basis": f"{weighted_sum(head.expression_basis):.5f}",
            "encoder_patches": f"{weighted_sum(embedding):.5f}",
        }

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW, slower on the encoder."""
        return make_adamw(
            self.model,
            weight_decay=self.config.weight_decay,
            undecayed=("branch.queries", "branch.level_embedding"),
            lr_scales={"encoder.": self.config.encoder_rate},
        )

    def data(self, stage: Stage) -> StageData[FlatBatch]:
        """Rendered faces, new ones in every epoch."""
        source = MixtureSource(self.config.faces, self.config.batch, 0)
        return StageData(MixturePlan((source,), seed=self.config.seed), FlatReader(self.crops))

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0."""
        config = self.config
        return learning_rate(
            float(step + 1),
            peak=config.learning_rate,
            warm_up=float(min(config.warm_up, config.steps - 1)),
            total=float(config.steps + 1),
        )

    def loss(self, forward: nn.Module, batch: FlatBatch, stage: Stage) -> StepLoss:
        """`ExpressionLoss` with its terms."""
        output = forward(batch.crops)
        with torch.autocast(batch.crops.device.type, enabled=False):
            found = BranchOutput(*(values.float() for values in output))
            loss = self.multi_task(found, batch.truth)
        return StepLoss({k: v if k == "loss" else v.detach() for k, v in loss._asdict().items()})

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Terms on the faces kept out, and the same of the face at rest, the baseline."""
        sums = {
            "val_posed_mm": 0.0,
            "val_distances_mm": 0.0,
            "val_points": 0.0,
            "rest_posed_mm": 0.0,
        }
        count = len(self.held_out.crops)
        for begin in range(0, count, VALIDATION_BATCH):
            rows = slice(begin, begin + VALIDATION_BATCH)
            part = FlatBatch(*(values[rows].to(self.device) for values in self.held_out))
            output = model(part.crops)
            found = self.multi_task(output, part.truth)
            rest = output._replace(
                **{name: 0 * getattr(output, name) for name in output._fields[:4]}
            )
            weight = len(part.crops) / count
            sums["val_posed_mm"] += weight * float(found.posed_mm)
            sums["val_distances_mm"] += weight * float(found.distances_mm)
            sums["val_points"] += weight * float(found.points)
            sums["rest_posed_mm"] += weight * float(self.multi_task(rest, part.truth).posed_mm)
        self.score = (
            f"posed error {sums['val_posed_mm']:.2f} mm on {count} rendered faces of other people, "
            f"at rest {sums['rest_posed_mm']:.2f} mm"
        )
        return {name: round(value, 4) for name, value in sums.items()}

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """The seconds spent in training."""
        return {"seconds": round(progress.seconds)}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write float16 weights of encoder and branch."""
        assert isinstance(model, ExpressionNetwork)
        tuned = " --tuned" if self.config.tuned else ""
        save_expression_network(
            model,
            folder,
            self.head,
            name=NAME,
            licence=self.config.licence,
            made_by=f"mica-ext train --encoder {self.config.encoder}{tuned} ({self.config.steps} "
            f"steps of {self.config.batch})",
            score=self.score,
        )


def make_task(config: ExpressionTrainingConfig, world: World) -> ExpressionTraining:
    """Load encoder and head and render the faces to measure on.

    Raises:
        UserError: one of them cannot be used.
    """
    if config.encoder != "scratch" and config.encoder_weights is None:
        raise UserError(
            f"--encoder {config.encoder}: give its weights with --encoder-weights PATH, or take "
            "--encoder scratch"
        )
    head = load_head(config.head)
    torch.manual_seed(config.seed)
    encoder = load_encoder(config.encoder, config.encoder_weights)
    return ExpressionTraining(config, encoder.vit, head, world)


def train(config: ExpressionTrainingConfig) -> int:
    """Train, or go on with a run; the process's exit code: 0 done, 143 after SIGTERM.

    Raises:
        UserError: encoder, head or the run's folder cannot be used; the run began with other
            options.
    """
    with process_group(config.device) as world:
        task = make_task(config, world)
        options = RunOptions(out=config.out, device=config.device, tensorboard=config.tensorboard)
        return fit(task, trainer_config(config), options, world)


def trainer_config(config: ExpressionTrainingConfig) -> TrainerConfig:
    """How the engine carries out the training."""
    return TrainerConfig(
        precision=config.precision,
        clip_norm=CLIP_NORM,
        ema_decay=config.ema_decay,
        workers=config.workers,
        save_minutes=config.save_minutes,
        validate_steps=config.validate_every,
    )
