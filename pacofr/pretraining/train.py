"""PaCo-FR pre-training: shards of face crops in, an encoder out.

    pacofr pretrain paper --shards SHARDS --out RUN                                    one GPU
    torchrun --nproc-per-node 8 -m pacofr pretrain paper --shards SHARDS --out RUN     one node
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
        -m pacofr pretrain paper --shards SHARDS --out RUN                             on every node

The same command given again goes on from the last checkpoint. All processes see the same run: each
random draw depends on (seed, epoch, sample) and each loss is a mean over the global batch.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from pacofr.engine.batches.sampling import EpochPlan, RankBatch
from pacofr.engine.checkpoint import Progress, recorded_setting, write_model
from pacofr.engine.device import Precision, resolve_precision
from pacofr.engine.distributed import World, process_group
from pacofr.engine.optimization import adamw
from pacofr.engine.step_metrics import StepLoss, StepMetrics
from pacofr.engine.task import RunOptions, Stage, StageData, TrainerConfig, TrainingTask
from pacofr.engine.trainer import fit
from pacofr.errors import UserError
from pacofr.models.normalization import denormalise, normalise
from pacofr.pretraining.config import VERSION_1_METHOD, PretrainConfig, model_to_json
from pacofr.pretraining.crops import CropDataset, FixedCrops
from pacofr.pretraining.device_crops import DeviceCrops, crop_places
from pacofr.pretraining.held_out import held_out_error, split_crops
from pacofr.pretraining.initial_weights import initialize_from, weights_sha256
from pacofr.pretraining.method.candidate_usage import candidate_usage, count_candidates
from pacofr.pretraining.method.codebook import restructure, unpatchify
from pacofr.pretraining.method.flops import step_flop
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import PaCoFR, pretraining_loss
from pacofr.pretraining.method.perceptual_net import load_perceptual

START_CROPS, KMEANS_CROPS = 256, 2048
"""Crops that the codebook starts from: their mean or samples of them; their clusters."""

RESUME_MAY_CHANGE = frozenset(
    {
        "data.workers",
        "data.on_device",
        "checkpoint_minutes",
        "pictures_every",
        "compile",
        "accumulate",
        "loss.perceptual_net",
        "loss.perceptual_weights",
    }
)
"""Config fields that may differ on resume because they do not affect results. The path of the
perceptual network is one of them; the fingerprint of its weights is compared instead."""


IMPLIED_CONFIG: Mapping[str, object] = {
    "loss.mse_over": "image",
    "data.held_out": 0,
    "init_from.fingerprint": None,
    **{
        f"model.{part}.{name}": value
        for part, fields in VERSION_1_METHOD.items()
        for name, value in fields.items()
    },
}
"""Fields that runs of version 1 lack, by what they did."""


class PretrainBatch(NamedTuple):
    """Images and their masks (`masking.Masks`)."""

    images: UInt8[Tensor, "b 3 H W"] | Int64[Tensor, "b 2"]
    """Or their places among the crops that are on the device (`device_crops`)."""
    mask: Bool[Tensor, "b K"]
    random_token: Int64[Tensor, "b K"]
    use_random: Bool[Tensor, "b K"]
    judged: Bool[Tensor, "b K"]


class Reconstructions(NamedTuple):
    """What the model made of some images; patches are ImageNet-normalised."""

    target: Float[Tensor, "b K P"]
    prediction: Float[Tensor, "b K P"]
    chosen: Int64[Tensor, "b K"]
    """Candidate token of every position."""
    mask: Bool[Tensor, "b K"]


def pretrain(
    config: PretrainConfig,
    crops: CropDataset,
    options: RunOptions,
    init_from: Path | None = None,
) -> int:
    """Pre-train, or go on with a run; the process's exit code: 0 done, 143 after SIGTERM.

    Args:
        config: all that decides the run's numbers beside the crops.
        crops: face crops.
        options: where the run goes.
        init_from: a run whose weights it begins with (`initial_weights`).

    Raises:
        UserError: among others files that cannot be used, a folder of another run.
    """
    with process_group(options.device) as world, _out_of_memory_as_user_error(config):
        wanted = config.precision
        recorded = recorded_setting(options.out, "precision") if wanted == "auto" else None
        precision = resolve_precision(str(recorded or wanted), world.device)
        config = dataclasses.replace(config, precision=precision)
        trainer = TrainerConfig(
            precision=precision,
            accumulate=config.accumulate,
            compile=config.compile,
            workers=config.data.workers,
            save_minutes=config.checkpoint_minutes,
            picture_steps=config.pictures_every,
        )
        task = Pretraining(config, crops, world, init_from)
        if config.data.held_out:
            trainer = dataclasses.replace(trainer, validate_steps=task.plan.steps_per_epoch)
        return fit(task, trainer, options, world)


class Pretraining(TrainingTask[PretrainBatch]):
    """PaCo-FR's two stages: incubation, which also trains the belief predictor, and the rest."""

    resume_may_change = RESUME_MAY_CHANGE
    implied_config = IMPLIED_CONFIG
    learning_rate_flag = "--optim.base-lr"
    exports_in_background = True

    def __init__(
        self,
        config: PretrainConfig,
        crops: CropDataset,
        world: World,
        init_from: Path | None = None,
    ) -> None:
        self.config, self.world, self.init_from = config, world, init_from
        self.crops, self.held_out = crops, None
        if config.data.held_out:
            self.crops, self.held_out = split_crops(crops, config.data.held_out)
        self.on_device: DeviceCrops | None = None
        if config.data.on_device:
            assert isinstance(self.crops, FixedCrops)
            self.on_device = DeviceCrops(self.crops, world.device)
        self.plan = EpochPlan(len(self.crops), config.batch_size, config.epochs, config.seed)
        self.plan.check(world)
        incubation = config.incubation_steps(self.plan.steps, self.plan.steps_per_epoch)
        stages = (Stage("incubation", incubation), Stage("main", self.plan.steps - incubation))
        self.stages = tuple(stage for stage in stages if stage.steps)

        torch.manual_seed(config.seed)
        self.model = self.pacofr = PaCoFR(config.model)
        self.perceptual = load_perceptual(config.loss)
        fingerprints = {
            "perceptual": None if self.perceptual is None else self.perceptual.fingerprint,
            "init_from": None if init_from is None else weights_sha256(init_from),
        }
        self.run_config = _run_config(config, crops, fingerprints)
        if self.perceptual is not None:
            self.perceptual.to(world.device)
            if config.precision == "bf16":
                self.perceptual.store_products_in(torch.bfloat16)
        self.last_reconstructions: Reconstructions | None = None

    def compiled_parts(self) -> Iterable[nn.Module]:
        """The transformer blocks of encoder, decoder and perceptual net."""
        own = (*self.pacofr.encoder.blocks, *self.pacofr.decoder.blocks)
        return own if self.perceptual is None else (*own, *self.perceptual.encoder.blocks)

    def initialize(self) -> None:
        """Initialise the tokens from the first crops of the first epoch, alike on every rank; then
        take over what `init_from` has."""
        images = KMEANS_CROPS if self.config.model.codebook.init == "kmeans" else START_CROPS
        crops = torch.from_numpy(self.crops.read(0, self.plan.order(0)[:images]))
        generator = torch.Generator().manual_seed(self.config.seed)
        patch = self.config.model.encoder.patch_size
        self.pacofr.codebook.initialize_from(normalise(crops / 255), patch, generator)
        if self.init_from is not None:
            initialize_from(self.pacofr, self.init_from)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW; the codebook does not decay and has its own factor of the learning rate."""
        optim_config = self.config.optim
        return adamw.make_adamw(
            self.model,
            weight_decay=optim_config.weight_decay,
            betas=optim_config.betas,
            undecayed=["codebook."],
            lr_scales={"codebook.": self.config.model.codebook.lr_factor},
        )

    def data(self, stage: Stage) -> StageData[PretrainBatch]:
        """Crops and masks; the same shuffled epochs go on through both stages."""
        incubation = stage.name == "incubation"
        return StageData(self.plan, MaskedCropReader(self.crops, self.config, incubation))

    def begin_stage(self, stage: Stage) -> None:
        """Freeze the predictor when incubation has ended."""
        if stage.name != "incubation":
            self.pacofr.freeze_predictor()

    def learning_rate(self, step: int) -> float:
        """MAE's schedule: linear warm-up, then a half cosine, per iteration."""
        optim_config = self.config.optim
        return adamw.learning_rate(
            step / self.plan.steps_per_epoch,
            peak=adamw.peak_learning_rate(optim_config.base_lr, self.config.batch_size),
            warm_up=optim_config.warmup_epochs,
            total=float(self.config.epochs),
            floor=optim_config.min_lr,
        )

    def loss(self, forward: nn.Module, batch: PretrainBatch, stage: Stage) -> StepLoss:
        """Eq. 2 and 3, in the incubation stage also eq. 6; and how often each token was used."""
        images, *masks = batch
        if self.on_device is not None:
            images = self.on_device.images(images)
        output = forward(
            images / 255,
            *masks,
            predictor_training=stage.name == "incubation",
            mse_over=self.config.loss.mse_over,
        )
        terms = pretraining_loss(output, self.perceptual, self.config.loss)
        self.last_reconstructions = Reconstructions(
            output.target, output.prediction.detach(), output.chosen, batch.mask
        )
        return StepLoss(
            means={
                "loss": terms.total,
                "mse": terms.mse,
                "perceptual": terms.perceptual,
                "cross_entropy": terms.cross_entropy,
            },
            counts=count_candidates(
                output,
                batch.mask & self.pacofr.considered,
                self.config.model.codebook.candidates,
            ),
        )

    def record(
        self, stage: Stage, progress: Progress, metrics: StepMetrics
    ) -> Mapping[str, object]:
        """Usage of the candidates, and the seconds spent in training."""
        usage = candidate_usage(metrics.counts, self.config.model)
        return {
            "usage_entropy": usage.entropy,
            "dead_share": usage.dead_token_fraction,
            "seconds": round(progress.seconds, 3),
        }

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """`held_out_error`, where crops are held out."""
        if self.held_out is None:
            return {}
        precision = cast(Precision, self.config.precision)
        return held_out_error(model, self.held_out, self.config, self.world.device, precision)

    def flop_per_image(self, stage: Stage) -> float:
        """`step_flop` of the stage."""
        net = None if self.perceptual is None else self.perceptual.encoder.config
        return step_flop(self.config.model, net, incubating=stage.name == "incubation")

    def picture(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """`reconstruction_grid` of the last micro-batch, with the tokens as they are now."""
        return (
            None
            if self.last_reconstructions is None
            else reconstruction_grid(self.pacofr, self.last_reconstructions)
        )

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, model, model_to_json(self.config.model))


class MaskedCropReader:
    """Reads the crops of some samples, or finds their places, and draws their masks."""

    def __init__(self, crops: CropDataset, config: PretrainConfig, incubation: bool) -> None:
        self.crops, self.config, self.incubation = crops, config, incubation

    def __call__(self, batch: RankBatch) -> PretrainBatch:
        """The tensors of a step."""
        config, epoch = self.config, int(batch.epoch[0])
        if config.data.on_device:
            assert isinstance(self.crops, FixedCrops)
            images = crop_places(self.crops, epoch, batch.index)
        else:
            images = self.crops.read(epoch, batch.index)
        masks = sample_masks(
            config.seed,
            epoch,
            batch.index,
            config.model,
            config.masking,
            incubation=self.incubation,
        )
        return PretrainBatch(*(torch.from_numpy(array) for array in (images, *masks)))


@torch.no_grad()
def reconstruction_grid(
    model: PaCoFR, shown: Reconstructions, columns: int = 8
) -> UInt8[np.ndarray, "H W 3"]:
    """Three rows of crops: the images, the encoder's inputs (eq. 1), the reconstructions."""
    target, prediction, chosen, mask = (tensor[:columns] for tensor in shown)
    inputs = restructure(target, model.codebook(), chosen, mask)
    patch = model.config.encoder.patch_size
    rows = []
    for patches in (target, inputs, prediction.float()):
        faces = denormalise(unpatchify(patches, patch)).clamp(0, 1)
        rows.append(torch.cat(list(faces), dim=2))
    grid = (torch.cat(rows, dim=1) * 255).round().to(torch.uint8)
    return grid.permute(1, 2, 0).cpu().numpy()


def _run_config(
    config: PretrainConfig, crops: CropDataset, fingerprints: Mapping[str, str | None]
) -> dict[str, object]:
    """The settings without the machine's paths; data and other weights by their fingerprints."""
    content = dataclasses.asdict(config)
    del content["data"]["cache"]
    for name in ("perceptual_net", "perceptual_weights"):
        if content["loss"][name] is not None:
            kind, colon, path = str(content["loss"][name]).rpartition(":")
            content["loss"][name] = kind + colon + Path(path).name
    return {
        **content,
        "shards": {"images": len(crops), "fingerprint": crops.fingerprint},
        **{name: {"fingerprint": fingerprint} for name, fingerprint in fingerprints.items()},
    }


@contextlib.contextmanager
def _out_of_memory_as_user_error(config: PretrainConfig) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU's memory is too small for {config.batch_size} images in {config.accumulate}"
            f" parts over all processes; give --accumulate {2 * config.accumulate}, it changes no"
            " number"
        ) from error
