"""Training of the expression branch on pacofr's engine (folder of a run: `engine.checkpoint`)."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flame_assets.model.fingerprint import weighted_sum
from flame_assets.model.head import HeadModel
from flame_assets.store import load_head
from mica_ext.data.branch.card import TRAINING_CARD, training_card
from mica_ext.errors import UserError
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import ExpressionTrainingConfig
from mica_ext.expression.network import ExpressionNetwork
from mica_ext.expression.training.crops import network_input
from mica_ext.expression.training.data import FlatBatch, make_data
from mica_ext.expression.training.losses import expression_loss
from mica_ext.expression.weights import (
    read_expression_config,
    read_weights,
    save_expression_network,
)
from mica_ext.files import write_bytes_atomic
from pacofr.engine.checkpoint import Progress
from pacofr.engine.distributed import World, all_reduce_sum, process_group
from pacofr.engine.optimization.adamw import learning_rate, parameter_groups
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.engine.task import RunOptions, Stage, StageData, TrainerConfig, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.models.encoders import load_encoder
from pacofr.models.vit import VisionTransformer

NAME = "expression"
CLIP_NORM = 5.0
BETAS = (0.9, 0.95)
"""Of AdamW, as the encoders were pre-trained with."""
RESUME_MAY_CHANGE = frozenset(
    {"workers", "keep_mb", "save_minutes", "validate_every", "tensorboard", "device"}
)
NOT_COMPARED = (
    "out", "encoder_weights", "init_from", "head", "licence", "data", "preset",
    "identity", "freeze_identity", "identity_rate", "neutral_weight", "regions",
)  # fmt: skip
"""Places, whose numbers are compared, what changes no weight, and what is the joint training's."""
IMPLIED_CONFIG = {"init_from": None, "branch.identity": False, "weights.neutral": 0.5}
"""Fields that earlier runs lack, by what they did."""
VALIDATION_BATCH = 16


class ExpressionTraining(TrainingTask[FlatBatch]):
    """One stage: the multi-task loss on rendered faces and samples."""

    resume_may_change = RESUME_MAY_CHANGE
    implied_config = IMPLIED_CONFIG

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
            vit,
            config.branch,
            head.expression_count,
            shape_count=head.shape_count,
            tuned=config.tuned,
        )
        if config.init_from is not None:
            read_weights(self.network, config.init_from, head)
        self.multi_task = expression_loss(head, config.weights).to(world.device)
        self.batches = make_data(config, head, self.network.window)
        self.world, self.device = world, world.device
        self.score = "not measured"
        options = {k: v for k, v in asdict(config).items() if k not in NOT_COMPARED}
        sizes = {str(source.stream): source.samples for source in self.batches.plan.sources}
        embedding = vit.patch_embed.proj.weight.detach().cpu().double().numpy()
        self.run_config = {
            **options,
            "samples": sizes,
            "head_expression_basis": f"{weighted_sum(head.expression_basis):.5f}",
            "encoder_patches": f"{weighted_sum(embedding):.5f}",
            "init_from": _digest(config.init_from),
        }

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW, slower on the encoder."""
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.AdamW(self.parameter_groups(), lr=0.0, betas=BETAS, fused=fused)

    def parameter_groups(self) -> list[dict]:
        """The optimiser's, with the encoder's slower rate."""
        return parameter_groups(
            self.network,
            weight_decay=self.config.weight_decay,
            undecayed=("branch.queries", "branch.level_embedding"),
            lr_scales={"encoder.": self.config.encoder_rate},
        )

    def data(self, stage: Stage) -> StageData[FlatBatch]:
        """Rendered faces, new ones in every epoch, and the folders' samples."""
        return StageData(self.batches.plan, self.batches.reader)

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
        output = forward(network_input(batch.crops))
        with torch.autocast(batch.crops.device.type, enabled=False):
            found = BranchOutput(*(values.float() for values in output))
            loss = self.multi_task(found, batch.truth, mean_known=self.mean_known(batch))
        return StepLoss({k: v if k == "loss" else v.detach() for k, v in loss._asdict().items()})

    def mean_known(self, batch: FlatBatch) -> Float[Tensor, ""]:
        """Mean of `has_3d` over the crops of all processes."""
        mean, count = batch.has_3d.mean(), len(batch.has_3d)
        if self.world.size > 1:
            sums = torch.stack([count * mean, mean.new_tensor(count)]).double()
            known, crops = all_reduce_sum(sums, self.world)
            mean = (known / crops).to(mean)
        return mean

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Terms on faces kept out, and the posed error of the face at rest, the baseline."""
        rendered = self._measure(model, self.batches.rendered)
        count = len(self.batches.rendered.crops)
        self.score = (
            f"posed error {rendered['posed_mm']:.2f} mm on {count} rendered faces of other people, "
            f"at rest {rendered['rest_posed_mm']:.2f} mm"
        )
        found = {f"val_{name}": value for name, value in rendered.items()}
        found["rest_posed_mm"] = found.pop("val_rest_posed_mm")
        if self.batches.held_out is not None:
            people = self._measure(model, self.batches.held_out)
            found |= {f"val_data_{name}": value for name, value in people.items()}
            self.score += (
                f"; {people['posed_mm']:.2f} mm from the labels of "
                f"{len(self.batches.held_out.crops)} samples of --data, at rest "
                f"{people['rest_posed_mm']:.2f} mm"
            )
        return {name: round(value, 4) for name, value in found.items()}

    def _measure(self, model: nn.Module, faces: FlatBatch) -> dict[str, float]:
        """Means over faces."""
        names = ("posed_mm", "distances_mm", "points")
        sums: dict[str, float] = dict.fromkeys((*names, "rest_posed_mm"), 0.0)
        count = len(faces.crops)
        for begin in range(0, count, VALIDATION_BATCH):
            rows = slice(begin, begin + VALIDATION_BATCH)
            part = FlatBatch(*(values[rows].to(self.device) for values in faces))
            output = model(network_input(part.crops))
            found = self.multi_task(output, part.truth)
            rest = output._replace(
                **{name: 0 * getattr(output, name) for name in output._fields[:4]}
            )
            weight = len(part.crops) / count
            for name in names:
                sums[name] += weight * float(getattr(found, name))
            sums["rest_posed_mm"] += weight * float(self.multi_task(rest, part.truth).posed_mm)
        return sums

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """The seconds spent in training."""
        return {"seconds": round(progress.seconds)}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write float16 weights of encoder and branch."""
        assert isinstance(model, ExpressionNetwork)
        save_branch(model, folder, self.config, self.head, self.score)


def _digest(folder: Path | None) -> str | None:
    """Of the weights that a run begins with."""
    return None if folder is None else read_expression_config(folder).sha256


def save_branch(
    network: ExpressionNetwork,
    folder: Path,
    config: ExpressionTrainingConfig,
    head: HeadModel,
    score: str,
) -> None:
    """Write a trained network and the card of its data."""
    tuned = " --tuned" if config.tuned else ""
    begun = "" if (digest := _digest(config.init_from)) is None else f", from {digest[:12]}"
    save_expression_network(
        network,
        folder,
        head,
        name=NAME,
        licence=config.licence,
        made_by=f"mica-ext train --encoder {config.encoder}{tuned} ({config.steps} steps of "
        f"{config.batch}{begun})",
        score=score,
    )
    card = training_card(config.data, config.rendered)
    write_bytes_atomic(folder / TRAINING_CARD, card.encode())


def make_task(config: ExpressionTrainingConfig, world: World) -> ExpressionTraining:
    """Load encoder, head and data.

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
    encoder = load_encoder(config.encoder, config.encoder_weights, config.encoder_pixels)
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
