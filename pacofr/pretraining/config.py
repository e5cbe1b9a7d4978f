"""Every setting of the model and of its pre-training: plain frozen data, no torch.

The same object is the command line's flags, its help and the JSON beside the weights. Presets
(`PRESETS`) are complete configs; the rows of the paper's Table 7 (`ABLATIONS`) are modifiers that
turn any preset into that row. What the paper leaves open is a field here, its reading in the text.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pacofr.errors import UserError
from pacofr.utils.config_checks import at_least, splits

Device = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute; auto is CUDA where there is one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VitConfig:
    """A vision transformer, sized and flavoured."""

    image_size: int = 224
    """Side of the square input [px]."""
    patch_size: int = 16
    """Side of a patch [px]."""
    width: int = 768
    """Features per token."""
    depth: int = 12
    """Number of blocks."""
    heads: int = 12
    """Attention heads per block."""
    mlp_ratio: float = 4.0
    """Hidden width of a block's MLP over the token width."""
    layer_norm_eps: float = 1e-6
    """Epsilon of every layer norm (CLIP and FaRL: 1e-5)."""
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    """Exact GELU, or x * sigmoid(1.702 x) as CLIP and FaRL have it."""
    positions: Literal["sincos", "learned"] = "sincos"
    """Fixed sine-cosine position table (MAE) or a learned one."""
    clip_layout: bool = False
    """CLIP's stem: no bias in the patch projection and a layer norm before the first block."""

    def __post_init__(self) -> None:
        at_least(1, self, "image_size", "patch_size", "width", "depth", "heads")
        if self.image_size % self.patch_size:
            raise UserError(
                f"image size {self.image_size} is no multiple of the patch size {self.patch_size}"
            )
        splits(self.width, self.heads)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches of an image, K."""
        return self.grid**2

    @property
    def patch_values(self) -> int:
        """Numbers in a patch, 3 p^2."""
        return 3 * self.patch_size**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodebookConfig:
    """The pixel-space codebook [K, n, 3 p^2]."""

    candidates: int = 3
    """Tokens to choose from at each position, n."""
    shared: bool = False
    """One set of tokens for all positions (Table 7's "1 token") instead of one per position."""
    init: Literal["mean_patch", "patches"] = "mean_patch"
    """Start from the mean patch plus noise, or from patches of training images."""
    init_std: float = 0.02
    """Standard deviation of that noise, in ImageNet-normalised units; it tells candidates apart."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """The belief predictor: who chooses the candidate, and when it learns."""

    selection: Literal["predictor", "random"] = "predictor"
    """The predictor's argmax (the paper) or a uniform draw (Table 7's "random select")."""
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

    def __post_init__(self) -> None:
        at_least(1, self, "hidden")
        if self.incubation_steps is not None:
            at_least(0, self, "incubation_steps")
        if not 0.0 <= self.drop <= 1.0:
            raise UserError(f"the drop must lie between 0 and 1, not {self.drop}")


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
        splits(self.width, self.heads)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaCoFRConfig:
    """The network that pre-training trains."""

    encoder: VitConfig = VitConfig()
    codebook: CodebookConfig = CodebookConfig()
    predictor: PredictorConfig = PredictorConfig()
    decoder: DecoderConfig = DecoderConfig()

    def __post_init__(self) -> None:
        if self.codebook.candidates < 1:
            raise UserError("the codebook needs at least one candidate per position")
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
    perceptual_form: Literal["cosine", "mcf"] = "cosine"
    """Eq. 3 per token, or MCF's squared distance after normalising each channel over the tokens."""

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

    def __post_init__(self) -> None:
        at_least(0, self, "workers")


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
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16: autocast, the losses in float32; auto: bf16 where the device multiplies it natively."""
    compile: bool = False
    """torch.compile the model and the perceptual net."""
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
        if self.masking.kind == "regions" and self.data.resize == "random_crop":
            raise UserError("regions lie fixed in a whole crop: use resize with masking by regions")

    def predictor_trains(self, step: int, steps_per_epoch: int) -> bool:
        """Does step `step` (from 0) train the belief predictor? (`incubating` of forward.)"""
        predictor = self.model.predictor
        if predictor.selection == "random":
            return False
        if predictor.training == "always":
            return True
        length = predictor.incubation_steps
        return step < (steps_per_epoch if length is None else length)


def paper() -> PretrainConfig:
    """ViT-B/16, batch 720, 32 epochs of 2 M faces: 17 h on 8 V100 in the paper (LaPa F1 92.52).

    torchrun --nproc-per-node 8 -m pacofr pretrain paper --shards SHARDS --out RUN
    --loss.perceptual-weights vit-b-300ep.pth.tar
    """
    return PretrainConfig()


def paper_20m() -> PretrainConfig:
    """`paper` on 20 M faces; the paper gives no number of epochs for it, so the same 32."""
    return PretrainConfig()


def small() -> PretrainConfig:
    """ViT-S/16 at 224 px, for one GPU; not timed yet.

    pacofr pretrain small --shards SHARDS --out RUN
    """
    return _sized(width=384, heads=6, decoder_width=384, decoder_heads=12)


def tiny() -> PretrainConfig:
    """ViT-Ti/16 at 224 px, for one GPU; not timed yet.

    pacofr pretrain tiny --shards SHARDS --out RUN
    """
    return _sized(width=192, heads=3, decoder_width=192, decoder_heads=6)


def micro() -> PretrainConfig:
    """112 px in 8 px patches (still 196 positions), width 128, 6 blocks: trains on a laptop.

    pacofr pretrain micro --shards SHARDS --out RUN: about 30 images a second on one core of a
    server CPU with AMX, half of that with a perceptual net.
    """
    model = PaCoFRConfig(
        encoder=VitConfig(image_size=112, patch_size=8, width=128, depth=6, heads=2),
        decoder=DecoderConfig(width=128, heads=2),
        predictor=PredictorConfig(hidden=128),
    )
    return PretrainConfig(
        model=model,
        loss=LossConfig(perceptual_net="none"),
        optim=OptimConfig(base_lr=0.02),  # 6.25e-4 at this batch size
        data=DataConfig(workers=1),
        epochs=10,
        batch_size=8,
    )


def _sized(*, width: int, heads: int, decoder_width: int, decoder_heads: int) -> PretrainConfig:
    model = PaCoFRConfig(
        encoder=VitConfig(width=width, heads=heads),
        decoder=DecoderConfig(width=decoder_width, heads=decoder_heads),
    )
    return PretrainConfig(model=model, loss=LossConfig(perceptual_net="none"), batch_size=512)


PRESETS: Mapping[str, Callable[[], PretrainConfig]] = {
    "paper": paper,
    "paper-20m": paper_20m,
    "small": small,
    "tiny": tiny,
    "micro": micro,
}
"""Complete runs by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """One row of Table 7 as a change to the codebook and the predictor."""

    candidates: int
    selection: Literal["predictor", "random"]
    shared: bool = False
    incubation: bool = True

    def apply(self, config: PretrainConfig) -> PretrainConfig:
        """The same run under this row's method; everything else stays."""
        codebook = dataclasses.replace(
            config.model.codebook, candidates=self.candidates, shared=self.shared
        )
        predictor = dataclasses.replace(config.model.predictor, selection=self.selection)
        if not self.incubation:
            predictor = dataclasses.replace(predictor, training="always", drop=0.0)
        model = dataclasses.replace(config.model, codebook=codebook, predictor=predictor)
        return dataclasses.replace(config, model=model)


ABLATIONS: Mapping[str, Ablation] = {
    "1-token": Ablation(candidates=1, selection="random", shared=True),
    "1x196": Ablation(candidates=1, selection="random"),
    "3x196-random": Ablation(candidates=3, selection="random"),
    "5x196-random": Ablation(candidates=5, selection="random"),
    "3x196-predictor": Ablation(candidates=3, selection="predictor"),
    "5x196-predictor": Ablation(candidates=5, selection="predictor"),
    "3x196-no-incubation": Ablation(candidates=3, selection="predictor", incubation=False),
}
"""Table 7's rows by name; "3x196-predictor" is the method itself."""


def preset(name: str, ablation: str | None = None) -> PretrainConfig:
    """The preset `name`, turned into a row of Table 7 where one is asked for."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}: use one of {', '.join(PRESETS)}")
    config = PRESETS[name]()
    if ablation is None:
        return config
    if ablation not in ABLATIONS:
        raise UserError(f"unknown row of Table 7 {ablation!r}: use one of {', '.join(ABLATIONS)}")
    return ABLATIONS[ablation].apply(config)


MODEL_FORMAT = "pacofr-pretrained"
MODEL_VERSION = 1


def model_to_json(config: PaCoFRConfig) -> dict[str, object]:
    """What stands in `model/config.json` beside the weights (read back by `config_json`)."""
    return {
        "format": MODEL_FORMAT,
        "version": MODEL_VERSION,
        "model": dataclasses.asdict(config),
    }
