"""Joint training of identity network and expression branch on pacofr's engine.

The posed vertices of the predicted identity and movement are compared with the true ones, so their
error trains both networks; the neutral ones are compared by themselves with MICA's weights. Faces
whose identity was not measured (photos) train the branch alone, on their labels' identity. As in
MICA, ArcFace's last stage (layer4, bn2, fc, features) and the mapping network are trained.

    RUN/model/identity      config.json, model.safetensors, as of `mica-ext train-identity`
    RUN/model/expression    the same, as of `mica-ext train` without an identity network
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flame_assets.model.fingerprint import weighted_sum
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import ExpressionTrainingConfig
from mica_ext.expression.training.crops import network_input
from mica_ext.expression.training.data import FlatBatch
from mica_ext.expression.training.train import (
    IMPLIED_CONFIG,
    VALIDATION_BATCH,
    ExpressionTraining,
    make_task,
    save_branch,
    trainer_config,
)
from mica_ext.identity.network import IdentityNetwork
from mica_ext.identity.predictor import require_own_head
from mica_ext.identity.training.train import set_trained
from mica_ext.identity.training.vertex_loss import SCALE, VertexLoss
from mica_ext.identity.weights import (
    JOINTLY,
    IdentityWeights,
    load_identity_network,
    read_identity_config,
    save_identity_network,
)
from mica_ext.joint.network import JointNetwork
from pacofr.engine.checkpoint import Progress
from pacofr.engine.distributed import World, process_group
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.engine.task import RunOptions, Stage, StageData, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.models.global_batch_norm import use_global_batch_norm

IDENTITY, EXPRESSION = "identity", "expression"
"""Folders of the published networks."""
NAME = "mica-joint"
BETAS = (0.9, 0.95)
"""The branch's, of AdamW."""
IDENTITY_WEIGHT_DECAY = 2e-4
"""MICA's."""


class JointTraining(TrainingTask[FlatBatch]):
    """One stage: the branch's multi-task loss on predicted identities, and MICA's own."""

    implied_config = IMPLIED_CONFIG

    def __init__(
        self, branch: ExpressionTraining, start: Path, about: IdentityWeights, world: World
    ) -> None:
        """Put the networks together.

        Args:
            branch: the training of the branch by itself, with the data of both.
            start: folder of the identity network to start from.
            about: its config.
            world: of the process.
        """
        self.branch, self.start, self.about = branch, start, about
        identity = load_identity_network(start)
        self.config, self.head, self.device = branch.config, branch.head, world.device
        self.stages = (Stage("joint", self.config.steps),)
        self.network = JointNetwork(identity, branch.network)
        self.model = self.network
        if world.size > 1:
            use_global_batch_norm(identity)
        self.vertex_loss = VertexLoss(self.head, self.config.regions).to(world.device)
        self.resume_may_change = branch.resume_may_change
        self.run_config = {
            **branch.run_config,
            "identity_rate": self.config.identity_rate,
            "neutral_weight": self.config.neutral_weight,
            "regions": self.config.regions,
            "identity": about.sha256,
            "head_shape_basis": f"{weighted_sum(self.head.shape_basis):.5f}",
        }
        self.score = "not measured"
        self.start_mm: dict[str, float] | None = None

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW; slower on the encoder and on the identity network, with MICA's decay there."""
        groups = self.branch.parameter_groups()
        own = {
            "params": list(self.network.identity.parameters()),
            "weight_decay": IDENTITY_WEIGHT_DECAY,  # of biases and norms, too, as MICA
            "lr_scale": self.config.identity_rate,
        }
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.AdamW([*groups, own], lr=0.0, betas=BETAS, fused=fused)

    def data(self, stage: Stage) -> StageData[FlatBatch]:
        """Those of the branch, with ArcFace crops."""
        return self.branch.data(stage)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0."""
        return self.branch.learning_rate(step)

    def begin_stage(self, stage: Stage) -> None:
        """Train what MICA trains; batch statistics of what rests do not drift."""
        self.network.train()
        set_trained(self.network.identity, "mica")

    def loss(self, forward: nn.Module, batch: FlatBatch, stage: Stage) -> StepLoss:
        """The branch's terms on the predicted identities, and the neutral vertices."""
        output = forward(batch.arcface, network_input(batch.crops))
        with torch.autocast(batch.crops.device.type, enabled=False):
            movement = BranchOutput(*(values.float() for values in output.movement))
            shape = self._on_measured(output.shape.float(), batch)
            known = self.branch.mean_known(batch)
            terms = self.branch.multi_task(movement, batch.truth, shape, known)._asdict()
            neutral = self._neutral(shape, batch).mean()
            terms["loss"] = terms["loss"] + self.config.neutral_weight * neutral
        means = {k: v if k == "loss" else v.detach() for k, v in terms.items()}
        return StepLoss(means | {"neutral": neutral.detach()})

    def _on_measured(self, shape: Float[Tensor, "B S"], batch: FlatBatch) -> Float[Tensor, "B S"]:
        """The predicted identities; the labels' where nobody has measured the person."""
        return torch.where(batch.has_shape[:, None] > 0, shape, batch.shape)

    def _neutral(self, shape: Float[Tensor, "B S"], batch: FlatBatch) -> Float[Tensor, " B"]:
        """Weighted mean of the coordinates' differences of neutral vertices [mm]."""
        weights = self.vertex_loss.weights / self.vertex_loss.weights.mean()
        offsets = self.vertex_loss.offsets(shape, batch.shape)
        return SCALE * (offsets.abs() * weights[:, None]).mean((1, 2))

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """The branch's measures, and the neutral distance beside that of the network at first."""
        assert isinstance(model, JointNetwork)
        found = dict(self.branch.validate(model.expression))
        if self.start_mm is None:
            self.start_mm = self._distances(load_identity_network(self.start).to(self.device))
        for name, value in self._distances(model.identity).items():
            found[name] = round(value, 4)
            found[f"start_{name}"] = round(self.start_mm[name], 4)
        told = "; ".join(
            f"neutral {found[name]:.2f} mm on {where}, {found[f'start_{name}']:.2f} mm before"
            for name, where in (
                ("val_neutral_mm", "the rendered faces"),
                ("val_data_neutral_mm", "samples of --data"),
            )
            if name in found
        )
        self.score = f"{told}; {self.branch.score}"
        return found

    def _distances(self, identity: IdentityNetwork) -> dict[str, float]:
        """Mean distance of neutral vertices over the faces whose identity is known [mm]."""
        found = {}
        sets = (
            ("val_neutral_mm", self.branch.batches.rendered),
            ("val_data_neutral_mm", self.branch.batches.held_out),
        )
        for name, faces in sets:
            if faces is None or not bool((faces.has_shape > 0).any()):
                continue
            rows = faces.has_shape > 0
            crops, truth = faces.arcface[rows], faces.shape[rows]
            shapes = [
                identity(some.to(self.device)).shape for some in crops.split(VALIDATION_BATCH)
            ]
            offsets = self.vertex_loss.offsets(torch.cat(shapes), truth.to(self.device))
            found[name] = SCALE * float(offsets.norm(dim=-1).mean())
        return found

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """The seconds spent in training."""
        return {"seconds": round(progress.seconds)}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write both networks, each as its own training does."""
        assert isinstance(model, JointNetwork)
        save_identity_network(
            model.identity,
            folder / IDENTITY,
            name=NAME,
            licence=f"{self.about.licence}; {self.config.licence}",
            made_by=f"{JOINTLY} with an expression branch (--encoder {self.config.encoder}, "
            f"{self.config.steps} steps of {self.config.batch}), from {self.about.name} "
            f"{self.about.sha256[:12]}: {self.score}",
            template=weighted_sum(self.head.template),
            shape_basis=weighted_sum(self.head.shape_basis),
        )
        save_branch(model.expression, folder / EXPRESSION, self.config, self.head, self.score)


def make_joint_task(config: ExpressionTrainingConfig, start: Path, world: World) -> JointTraining:
    """Load encoder, identity network, head and data.

    Args:
        config: of the training.
        start: folder of the identity network to start from.
        world: of the process.

    Raises:
        UserError: one of them cannot be used.
    """
    about = read_identity_config(start)
    branch = make_task(config, world)
    require_own_head(about.name, about.template, about.shape_basis, branch.head)
    return JointTraining(branch, start, about, world)


def train_jointly(config: ExpressionTrainingConfig, start: Path) -> int:
    """Train, or go on with a run; the process's exit code: 0 done, 143 after SIGTERM.

    Raises:
        UserError: encoder, identity network, head, data or the run's folder cannot be used; the
            run began with other options.
    """
    with process_group(config.device) as world:
        task = make_joint_task(config, start, world)
        options = RunOptions(out=config.out, device=config.device, tensorboard=config.tensorboard)
        return fit(task, trainer_config(config), options, world)
