"""Training of MICA's identity network on pacofr's engine (folder of a run: `engine.checkpoint`).

As MICA trains (micalib/trainer.py, mica.yml), with what is broken there mended: several processes
share one batch and one set of batch statistics, and what is frozen keeps its batch statistics.
The weights of the best smoothed validation loss are published, as MICA's (`best_model`).
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from flame_assets.model.fingerprint import weighted_sum
from flame_assets.model.head import HeadModel
from flame_assets.store import load_head
from mica_ext.data.mica_layout import Actor, read_actors, read_crop
from mica_ext.errors import UserError
from mica_ext.identity.config import IdentityTrainingConfig
from mica_ext.identity.mica_file import holds_mica, read_arcface, read_mica
from mica_ext.identity.network import IdentityNetwork, MappingNetwork
from mica_ext.identity.predictor import require_own_head
from mica_ext.identity.training.best_model import BEST, BestModel
from mica_ext.identity.training.people import People, PeopleBatch, PeopleReader, validation_photos
from mica_ext.identity.training.vertex_loss import VertexLoss
from mica_ext.identity.weights import (
    load_identity_network,
    read_identity_config,
    save_identity_network,
)
from pacofr.engine.batches.sampling import MixturePlan, MixtureSource
from pacofr.engine.checkpoint import Progress, publish_model
from pacofr.engine.distributed import World, process_group
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.engine.task import RunOptions, Stage, StageData, TrainerConfig, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.models.global_batch_norm import use_global_batch_norm

NAME = "mica-trained"
RESUME_MAY_CHANGE = frozenset(
    {"workers", "save_minutes", "validate_every", "tensorboard", "device"}
)
NOT_COMPARED = ("root", "out", "init", "lists", "head", "licence", "skip_missing", "publish")
"""Places, whose people and head are compared by their numbers, and what changes no weight."""
LOSS = "val_loss"
"""Measure by which the published weights are chosen."""
VALIDATION_BATCH = 32
"""Photos at a time."""


class IdentityTraining(TrainingTask[PeopleBatch]):
    """One stage: MICA's loss on the identities of all photos."""

    resume_may_change = RESUME_MAY_CHANGE

    def __init__(
        self,
        config: IdentityTrainingConfig,
        network: IdentityNetwork,
        head: HeadModel,
        people: People,
        held_out: People | None,
        world: World,
    ) -> None:
        self.config, self.head, self.people, self.held_out = config, head, people, held_out
        self.stages = (Stage("identity", config.steps),)
        self.model = self.network = network
        if world.size > 1:
            use_global_batch_norm(network)
        self.vertex_loss = VertexLoss(head, config.regions).to(world.device)
        self.device = world.device
        self.best = BestModel(config.out, LOSS) if config.publish == "best" else None
        options = {k: v for k, v in asdict(config).items() if k not in NOT_COMPARED}
        self.run_config = {
            **options,
            "people": people.fingerprint,
            "held_out": held_out.fingerprint if held_out else "",
            "head_shape_basis": f"{weighted_sum(head.shape_basis):.5f}",
        }
        self.learning_rate_flag = "--learning-rate"

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW with two rates; parameters that rest have no gradient and are left alone."""
        config, network = self.config, self.network
        scale = config.arcface_learning_rate / config.learning_rate
        groups = [
            {"params": list(network.regressor.parameters())},
            {"params": list(network.arcface.parameters()), "lr_scale": scale},
        ]
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=config.weight_decay)

    def data(self, stage: Stage) -> StageData[PeopleBatch]:
        """All people again and again, in a new order each time."""
        config = self.config
        source = MixtureSource(len(self.people.actors), config.batch, 0)
        reader = PeopleReader(self.people, config.photos, config.seed)
        return StageData(MixturePlan((source,), seed=config.seed), reader)

    def learning_rate(self, step: int) -> float:
        """Constant, as MICA's (its StepLR first steps after 1e8 steps)."""
        return self.config.learning_rate

    def begin_stage(self, stage: Stage) -> None:
        """Set what is trained; the rest is in evaluation mode."""
        set_trained(self.network, self.config.trained)

    def loss(self, forward: nn.Module, batch: PeopleBatch, stage: Stage) -> StepLoss:
        """MICA's loss, and the mean distance of vertices [mm]."""
        photos = batch.crops.shape[1]
        found = forward(batch.crops.flatten(0, 1)).shape
        truth = batch.shape.repeat_interleave(photos, 0)
        with torch.autocast(batch.crops.device.type, enabled=False):
            found = found.float()
            loss = self.vertex_loss(found, truth)
            with torch.no_grad():
                distance = 1000 * self.vertex_loss.offsets(found, truth).norm(dim=-1).mean()
        return StepLoss({"loss": loss, "distance_mm": distance})

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """The same on the first photos of each person who is not trained on."""
        if self.held_out is None:
            return {}
        count = validation_photos(self.held_out)
        losses, distances = [], []
        for actor, shape in zip(self.held_out.actors, self.held_out.shapes, strict=True):
            crops = torch.stack([torch.from_numpy(read_crop(path)) for path in actor.crops[:count]])
            truth = torch.from_numpy(shape).to(self.device)
            for some in crops.split(VALIDATION_BATCH):
                found = model(some.to(self.device)).shape
                offsets: Tensor = self.vertex_loss.offsets(found, truth.expand_as(found))
                weighted = offsets.abs() * self.vertex_loss.weights[:, None]
                losses.append(1000 * weighted.mean((1, 2)))
                distances.append(1000 * offsets.norm(dim=-1).mean(1))
        return {
            LOSS: float(torch.cat(losses).mean()),
            "val_distance_mm": float(torch.cat(distances).mean()),
        }

    def validated(
        self, model: nn.Module, progress: Progress, measured: Mapping[str, float]
    ) -> None:
        """Keep the best weights."""
        if self.best is not None and LOSS in measured:
            self.best.validated(
                progress.step, measured[LOSS], lambda folder: self.export(folder, model)
            )

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """The seconds spent in training."""
        return {"seconds": round(progress.seconds)}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write identity weights, as `mica-ext import` does."""
        assert isinstance(model, IdentityNetwork)
        sets = ", ".join(dict.fromkeys(actor.data_set for actor in self.people.actors))
        save_identity_network(
            model,
            folder,
            name=NAME,
            licence=self.config.licence,
            made_by=f"mica-ext train-identity ({len(self.people.actors)} people: {sets})",
            template=weighted_sum(self.head.template),
            shape_basis=weighted_sum(self.head.shape_basis),
        )


def set_trained(network: IdentityNetwork, trained: str) -> None:
    """Freeze what is not trained, in evaluation mode, so that batch statistics do not drift.

    Args:
        network: the identity network.
        trained: see `IdentityTrainingConfig.trained`.
    """
    arcface = network.arcface
    network.requires_grad_(False).eval()
    network.regressor.requires_grad_(True).train()
    modules = {
        "mapping": (),
        "mica": (arcface.layer4, arcface.bn2, arcface.fc, arcface.features),
        "all": (arcface,),
    }[trained]
    for module in modules:
        module.requires_grad_(True).train()
    arcface.features.weight.requires_grad_(False)  # fixed at 1 in ArcFace's own training


def start_network(init: Path, seed: int) -> IdentityNetwork:
    """The network that training starts from; a new mapping network for ArcFace's weights alone.

    Args:
        init: backbone.pth, mica.tar, or a folder of identity weights.
        seed: of the new mapping network.

    Raises:
        UserError: it is none of these.
    """
    if init.is_dir():
        return load_identity_network(init)
    if holds_mica(init):
        return read_mica(init).network
    with torch.device("meta"):  # its random ArcFace would take seconds
        network = IdentityNetwork()
    network.arcface = read_arcface(init)
    torch.manual_seed(seed)
    network.regressor = MappingNetwork()
    return network


def training_head(config: IdentityTrainingConfig) -> HeadModel:
    """The head whose coefficients are learned.

    Raises:
        UserError: it is not there, or not FLAME 2020.
    """
    head = load_head(config.head)
    if config.init.is_dir():
        about = read_identity_config(config.init)
        require_own_head(about.name, about.template, about.shape_basis, head)
    else:
        require_own_head(NAME, None, None, head)
    return head


def trainer_config(config: IdentityTrainingConfig) -> TrainerConfig:
    """How the engine carries out the training."""
    return TrainerConfig(
        precision=config.precision,
        accumulate=config.accumulate,
        workers=config.workers,
        save_minutes=config.save_minutes,
        validate_steps=config.validate_every,
    )


def make_task(config: IdentityTrainingConfig, world: World) -> IdentityTraining:
    """Read head, people and first weights.

    Raises:
        UserError: one of them cannot be used.
    """
    head = training_head(config)
    people = People.load(_actors(config, config.data_sets), photos=config.photos)
    held_out = People.load(_actors(config, config.validation)) if config.validation else None
    network = start_network(config.init, config.seed)
    return IdentityTraining(config, network, head, people, held_out, world)


def train(config: IdentityTrainingConfig) -> int:
    """Train, or go on with a run; the process's exit code: 0 done, 143 after SIGTERM.

    Raises:
        UserError: head, data, weights or the run's folder cannot be used; the run began with other
            options.
    """
    with process_group(config.device) as world:
        task = make_task(config, world)
        options = RunOptions(out=config.out, device=config.device, tensorboard=config.tensorboard)
        code = fit(task, trainer_config(config), options, world)
        best = config.publish == "best" and (config.out / BEST).is_dir()
        if code == 0 and world.is_main and best:
            publish_model(config.out, config.out / BEST)
        return code


def _actors(config: IdentityTrainingConfig, names: tuple[str, ...]) -> list[Actor]:
    try:
        return read_actors(config.root, names, config.lists, skip_missing=config.skip_missing)
    except OSError as error:
        raise UserError(f"{config.root}: cannot be read ({error.strerror})") from error
