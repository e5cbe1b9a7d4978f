"""Settings of the PaCo-FR model and of its pre-training: plain frozen data, no torch.

The same object is the command line's flags, its help and the JSON beside the weights. What the
paper leaves open is a field here; its docstring says how it is read.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.published_model import MODEL_FORMAT, MODEL_VERSION, read_model_config
from pacofr.utils.config_checks import at_least, at_most, divisible_by_heads
from pacofr.utils.config_json import from_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodebookConfig:
    """The pixel-space codebook [K, n, 3 p^2]."""

    candidates: int = 3
    """Tokens to choose from at each position, n."""
    shared: bool = False
    """One set of tokens for all positions (Table 7's "1 token") instead of one per position."""
    init: Literal["mean_patch", "patches", "kmeans"] = "mean_patch"
    """Start from the mean patch plus noise, from patches of training images, or from the means of
    a clustering of the patches at each position: appearances, as the paper's Fig. 2b shows them."""
    init_std: float = 0.02
    """Standard deviation of that noise, ImageNet-normalised; it separates the candidates. K-means
    separates them itself and takes none."""
    lr_factor: float = 1.0
    """Learning rate of the tokens over that of the network. Under Adam a token moves at most the
    sum of the learning rates, which in a run of some thousand steps is less than the distance
    between appearances."""

    def __post_init__(self) -> None:
        at_least(1, self, "candidates")
        at_most(4096, self, "candidates")
        at_least(0, self, "init_std", "lr_factor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """The belief predictor: who chooses the candidate, and when it learns."""

    selection: Literal["predictor", "random"] = "predictor"
    """The predictor's argmax (the paper) or a uniform draw (Table 7's "random select")."""
    reads: Literal["patch", "context", "encoder"] = "patch"
    """What the belief is predicted from. patch: the pixels of the very patch that may be masked
    (the paper), so that the choice tells the encoder about it. context: the visible ones among the
    3 x 3 patches around it, which the encoder sees, too. encoder: the encoder's output; the
    candidates that it sees are random then, and the belief is a second target beside the pixels,
    whose cross-entropy trains the encoder."""
    hidden: int = 256
    """Hidden width of the MLP (not given in the paper)."""
    position_condition: bool = True
    """Add a learned position embedding: candidate j means nothing across positions."""
    training: Literal["incubation", "always"] = "incubation"
    """Learn in the incubation stage and freeze (the paper), or go on for the whole run (Table 7's
    "without incubation": the predictor is updated synchronously, its choice never dropped)."""
    incubation_steps: int | None = None
    """Length of the incubation stage [optimiser steps]; None is one epoch, as in the paper."""
    drop: float = 0.75
    """Share of the masked positions that take a random candidate during incubation."""
    drop_after: float = 0.0
    """The same after incubation; the paper drops none then."""
    candidates_from: Literal["decoded", "tokens"] = "decoded"
    """What eq. 5 compares with the patch: the pixels decoded from each candidate (eq. 4, n further
    passes), or the candidates themselves."""
    similarity: Literal["cosine", "centred", "l2"] = "cosine"
    """Eq. 5's measure. The cosine of normalised pixels mostly sorts patches by brightness. centred:
    the cosine after each patch's mean colour is subtracted. l2: minus the squared distance, the
    reading under which the printed "arg min" is right."""
    balance: Literal["none", "sinkhorn"] = "none"
    """sinkhorn: labels that use the candidates of each position equally often within a batch (Caron
    et al. 2020), so that none dies."""
    judged: float = 1.0
    """Share of the masked positions whose candidates eq. 4 compares in a step. 1: image j has
    candidate j at all masked positions (the paper's I^n). Less: the other positions keep their
    choices, so that candidates are judged in the company they will be used in."""
    skip_constant: bool = False
    """Leave the positions of the crop's uniform border out of cross-entropy and usage: their labels
    are noise."""

    def __post_init__(self) -> None:
        at_least(1, self, "hidden")
        at_most(65536, self, "hidden")
        if self.incubation_steps is not None:
            at_least(0, self, "incubation_steps")
        for name in ("drop", "drop_after"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"the {name} must lie between 0 and 1, not {getattr(self, name)}")
        if not 0.0 < self.judged <= 1.0:
            raise UserError(f"the judged share must lie above 0 and up to 1, not {self.judged}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The decoder: blocks, then a linear layer to pixels (width not given in the paper: MAE's)."""

    depth: int = 1
    """Number of blocks."""
    width: int = 512
    """Features per token."""
    heads: int = 16
    """Attention heads."""

    def __post_init__(self) -> None:
        at_least(1, self, "depth", "width", "heads")
        at_most(256, self, "depth")
        at_most(16384, self, "width")
        divisible_by_heads(self.width, self.heads)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaCoFRConfig:
    """The network that pre-training trains."""

    encoder: VitConfig = VitConfig()
    codebook: CodebookConfig = CodebookConfig()
    predictor: PredictorConfig = PredictorConfig()
    decoder: DecoderConfig = DecoderConfig()

    def __post_init__(self) -> None:
        if self.predictor.selection == "predictor" and self.codebook.candidates < 2:
            raise UserError(
                "a predictor needs at least two candidates; with one, use selection random"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Which positions are masked, M."""

    kind: Literal["uniform", "regions"] = "uniform"
    """Uniformly random (Sec. 4.1), or whole regions of the aligned face one after the other."""
    ratio: float = 0.75
    """Share of masked positions; the count int(K * ratio) is the same in every image."""

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise UserError(f"the mask ratio must lie between 0 and 1, not {self.ratio}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms (not given in the paper) and the perceptual net."""

    mse: float = 1.0
    """Weight of eq. 2."""
    mse_over: Literal["image", "masked", "unhinted"] = "image"
    """Patches that eq. 2 averages over: all ("across the entire image"), the masked ones (MAE), or
    the masked ones whose candidate was drawn at random and therefore tells nothing of them."""
    perceptual: float = 1.0
    """Weight of eq. 3."""
    cross_entropy: float = 1.0
    """Weight of eq. 6, while the predictor learns."""
    perceptual_net: str = "moco-v3"
    """moco-v3, self:RUN (a frozen encoder pre-trained here) or none."""
    perceptual_weights: Path | None = None
    """The published vit-b-300ep.pth.tar, for moco-v3."""
    perceptual_layers: tuple[int, ...] = (3, 6, 9, 12)
    """Blocks compared, counted from 1 for 12 blocks and scaled for shallower nets."""
    perceptual_form: Literal["cosine", "map", "mcf"] = "cosine"
    """Eq. 3 per token; as printed, one cosine of the whole flattened map; or MCF's squared distance
    after normalising each channel over the tokens."""

    def __post_init__(self) -> None:
        at_least(0, self, "mse", "perceptual", "cross_entropy")
        if not self.perceptual_layers or not set(self.perceptual_layers) <= set(range(1, 13)):
            raise UserError(f"perceptual layers lie in 1..12, not {self.perceptual_layers}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedule, per iteration as in MAE."""

    base_lr: float = 1.5e-4
    """Learning rate for 256 images; the used one is base_lr * batch / 256 (MAE; not given)."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    """For tensors of two axes and more (MAE), but not for the codebook."""
    warmup_epochs: float = 1.0
    """Linear warm-up."""
    min_lr: float = 0.0
    """End of the cosine."""

    def __post_init__(self) -> None:
        at_least(0, self, "base_lr", "weight_decay", "warmup_epochs", "min_lr")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise UserError(f"betas must lie between 0 and 1, not {self.betas}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What the loader does to a 256 px crop."""

    resize: Literal["resize", "random_crop"] = "resize"
    """Scale the whole crop to the input size, or cut a random 7/8 window (position-wise tokens
    expect aligned faces, so MAE's random resized crop is not offered)."""
    flip: bool = True
    """Mirror half of the images."""
    workers: int = 4
    """Decoding processes per training process."""
    held_out: int = 0
    """Crops, evenly over the data set, that are not trained on; after each epoch the error of
    reconstructing their masked patches is recorded."""
    cache: Path | None = None
    """Folder on a fast local disk, or in memory (/dev/shm), that shards are copied to before they
    are read; a shard that does not fit is read from where it is."""
    on_device: bool = False
    """Decode all crops once and hold them on the device, for sets that fit there (3 bytes a pixel);
    changes no number. With `resize` alone, for windows are cut before crops are scaled."""

    def __post_init__(self) -> None:
        at_least(0, self, "workers", "held_out")
        if self.on_device and self.resize != "resize":
            raise UserError("crops on the device are whole ones: use --data.resize resize with it")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run."""

    model: PaCoFRConfig = PaCoFRConfig()
    masking: MaskingConfig = MaskingConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    epochs: int = 32
    batch_size: int = 720
    """Images per optimiser step over all processes and accumulation steps."""
    accumulate: int = 1
    """Micro-batches per optimiser step."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """bf16: autocast, the losses in float32; auto: bf16 where the device multiplies it natively;
    fp16, for GPUs without bf16 such as V100: the same with a dynamic scale of the loss."""
    compile: bool = False
    """torch.compile the model and the perceptual net, where that works."""
    seed: int = 0
    """Every draw is a function of (seed, epoch, sample index)."""
    checkpoint_minutes: float = 10.0
    """Time between two checkpoints."""
    pictures_every: int = 1000
    """Steps between two pictures of reconstructions; 0 is never."""

    def __post_init__(self) -> None:
        at_least(1, self, "epochs", "batch_size", "accumulate")
        at_least(0, self, "seed", "checkpoint_minutes", "pictures_every")
        if int(self.model.encoder.patches * self.masking.ratio) < 1:
            raise UserError(f"a mask ratio of {self.masking.ratio} masks no patch at all")
        self._check_belief()
        if self.masking.kind == "regions" and self.data.resize == "random_crop":
            raise UserError("regions lie fixed in a whole crop: use resize with masking by regions")

    def _check_belief(self) -> None:
        """Refuse combinations of fields that contradict each other."""
        predictor = self.model.predictor
        if predictor.balance == "sinkhorn" and self.accumulate > 1:
            raise UserError("balanced labels look at the whole batch: use --accumulate 1")
        if self.loss.mse_over == "unhinted" and predictor.selection == "predictor":
            draws_hints = predictor.reads != "encoder"
            after = predictor.drop if predictor.training == "always" else predictor.drop_after
            if draws_hints and not (predictor.drop > 0 and after > 0):
                raise UserError(
                    "mse over unhinted patches needs some: set --model.predictor.drop and"
                    " --model.predictor.drop-after above 0"
                )

    def incubation_steps(self, steps: int, steps_per_epoch: int) -> int:
        """Number of first steps, of `steps` in all, that train the belief predictor."""
        predictor = self.model.predictor
        if predictor.selection == "random":
            return 0
        if predictor.training == "always" or predictor.reads == "encoder":
            return steps
        length = predictor.incubation_steps
        return min(steps, steps_per_epoch if length is None else length)


VERSION_1_METHOD: Mapping[str, Mapping[str, object]] = {
    "codebook": {"lr_factor": 1.0},
    "predictor": {
        "reads": "patch",
        "drop_after": 0.0,
        "candidates_from": "decoded",
        "similarity": "cosine",
        "balance": "none",
        "judged": 1.0,
        "skip_constant": False,
    },
}
"""What models and runs of version 1 did without a field that says so."""


def model_to_json(config: PaCoFRConfig) -> dict[str, object]:
    """The content of `model/config.json` beside the weights."""
    return {
        "format": MODEL_FORMAT,
        "version": MODEL_VERSION,
        "model": dataclasses.asdict(config),
    }


def model_from_json(folder: Path) -> PaCoFRConfig:
    """Read `folder/config.json`, strictly; one of version 1 with the fields that it lacks.

    Raises:
        UserError: another file, version or field; a value of another type or out of range.
    """
    version, settings = read_model_config(folder)
    if version == 1 and isinstance(settings, dict):
        settings = {
            name: {**part, **VERSION_1_METHOD.get(name, {})} if isinstance(part, dict) else part
            for name, part in settings.items()
        }
    return from_json(PaCoFRConfig, settings, f"{folder / 'config.json'}, model")
