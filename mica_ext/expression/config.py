"""Sizes of the expression branch, weights of its loss, and options of its training; no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mica_ext.errors import UserError

CROP_PX = 224
"""Side of the encoders' crop, as `pacofr.faces.align` has it, which imports OpenCV."""
MIN_WINDOW = 96


@dataclass(frozen=True, kw_only=True)
class BranchConfig:
    """Sizes of the decoder between the encoder's features and the parameters."""

    layers: tuple[int, ...] = (2, 4, 8, 12)
    """Blocks of the encoder that are read, counted from 1 for 12 blocks (PaCo-FR, section 4.2);
    scaled for shallower encoders."""
    width: int = 192
    """Features of queries and keys."""
    heads: int = 4
    """Attention heads."""
    depth: int = 2
    """Decoder layers."""
    mlp_ratio: float = 2.0
    """Hidden width of a decoder layer's MLP over its width."""
    summary: int = 8
    """Features of each token in the summary that queries begin with."""
    identity: bool = False
    """Also read identity coefficients, for packs without an identity network: on the mean head a
    person's brows and lips pass for movements, or for none."""
    window: int = CROP_PX
    """Side of the middle of the crop that the encoder sees [crop px]: all of it, as encoders were
    pre-trained, or less in more detail; 144 holds a face from brows to chin."""

    def __post_init__(self) -> None:
        if not self.layers or any(not 1 <= layer <= 12 for layer in self.layers):
            raise UserError(f"expected encoder layers between 1 and 12, got {self.layers}")
        if list(self.layers) != sorted(set(self.layers)):
            raise UserError(f"expected encoder layers in rising order, got {self.layers}")
        if not 1 <= self.depth <= 64 or not 1 <= self.heads <= 64:
            raise UserError("expected 1 to 64 decoder layers and heads")
        if not 1 <= self.width <= 4096 or self.width % self.heads:
            raise UserError(
                f"expected a width up to 4096 that {self.heads} heads divide, got {self.width}"
            )
        if not MIN_WINDOW <= self.window <= CROP_PX or self.window % 2:
            raise UserError(
                f"expected an even window of {MIN_WINDOW} to {CROP_PX} pixels, got {self.window}"
            )
        if not 1 <= self.summary <= 256:
            raise UserError(f"expected a summary of 1 to 256 features, got {self.summary}")
        if not 0.1 <= self.mlp_ratio <= 16:
            raise UserError(f"expected an MLP ratio between 0.1 and 16, got {self.mlp_ratio}")


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the terms, each of about 1 at the error of a usable branch."""

    posed: float = 1.0
    """Vertices of the moved head: per mm, mean over the face; 1 mm is the error to beat."""
    parameters: float = 0.5
    """Squared coefficients: half of the vertices' weight, for they alone tell apart movements
    that look alike."""
    distances: float = 1.0
    """Lid and lip distances per mm: what is read as expression, and tiny among all vertices."""
    neutral: float = 0.5
    """Vertices of the head at rest per mm, of branches that read identity: half of the moved
    vertices' weight, for a picture tells them less."""
    pose: float = 5.0
    """Mean absolute difference of rotation matrices' entries: 0.1 is about 8 degrees."""
    camera: float = 5.0
    """Absolute log scale and offset in half crops: 0.05 is 5 % or 6 pixels."""
    points: float = 20.0
    """Reprojected landmarks per half crop, with their confidence: 0.05 is 6 pixels."""
    seen_distances: float = 40.0
    """Reprojected lid and lip distances per half crop: what tells a photo's expression where it
    has no labels in 3D; 0.025 is 3 pixels."""
    dense: float = 20.0
    """Reprojected points of Face Mesh per half crop, in photos of which they are known and nothing
    in 3D: what the landmarks leave out, cheeks and jaw."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < 1e6:
                raise UserError(f"--weights.{name}: expected 0 or more, got {value}")


@dataclass(frozen=True, kw_only=True)
class CropChanges:
    """Random changes of training crops."""

    five_points: float = 0.03
    """Noise of the five points that crops are cut by, in eye distances: what detectors do."""
    occlusion: float = 0.3
    """Fraction of crops behind glasses, masks, hands, hair or blocks."""
    light: float = 0.7
    """Fraction of crops with other resolution, light, colour and noise."""
    mirrored: float = 0.5
    """Fraction of crops flipped left to right, of heads whose sides are alike."""

    def __post_init__(self) -> None:
        if not 0 <= self.five_points <= 0.5:
            raise UserError("--changes.five-points: expected 0 to 0.5 eye distances")
        for name in ("occlusion", "light", "mirrored"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--changes.{name}: expected a fraction from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class ExpressionTrainingConfig:
    """Train the expression branch of a head, on any pre-trained face encoder.

    On rendered faces, and with --data on samples that `mica-ext samples` made. A laptop:
    `mica-ext train --encoder pacofr --encoder-weights runs/micro --data photos --out RUN`.
    """

    preset: Literal["expression", "table8"] = "expression"
    """expression: the branch alone. table8: MICA's identity network is trained along, since NoW
    scores the neutral mesh; `--preset table8 --help` shows its defaults."""
    out: Path
    """Folder of the run; started again with the same options, it goes on where it stopped."""
    identity: str | None = None
    """Identity network for the head: a model pack that has one (mica), or its folder. It is trained
    along (ArcFace's layer4, bn2, fc, features and the mapping network), through the posed vertices
    and the neutral ones, and the run is a pack with both networks."""
    freeze_identity: bool = False
    """Keep the identity network as it is: neutral meshes equal its own to the last bit."""
    identity_rate: float = 0.02
    """Of the identity network's rate over the branch's; MICA's own rate is 1e-5."""
    neutral_weight: float = 2.0
    """Weight of the neutral vertices of the identity that is trained along: mean difference of
    their coordinates [mm]; 0.5 mm is a distance of about 1 mm, and then the term is about 1."""
    regions: Literal["mica", "uniform"] = "mica"
    """Weights of neutral vertices: mica: face 150, ears and eyeballs 0.01, else 1; or 1
    everywhere."""
    encoder: Literal["pacofr", "farl", "mae", "moco-v3", "mcf", "scratch"] = "pacofr"
    """Whose features are read; scratch: random weights, the baseline."""
    encoder_weights: Path | None = None
    """Its file, or the run of `pacofr pretrain`."""
    init_from: Path | None = None
    """Folder of expression weights of the same sizes (RUN/model) to begin with; with --tuned also
    the encoder's, else --encoder-weights' stay."""
    encoder_pixels: int | None = None
    """Side of the encoder's input [px]; default: what it was trained with."""
    tuned: bool = False
    """Train the encoder too."""
    head: str = "anthro"
    """Whose expressions are learned: anthro, ict, flame2020, ... or a folder."""
    branch: BranchConfig = field(default_factory=BranchConfig)
    """Sizes of the branch."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Of the loss."""
    changes: CropChanges = field(default_factory=CropChanges)
    """Of the crops."""
    data: tuple[Path, ...] = ()
    """Folders of `mica-ext samples` for this head: train/ is trained on, val/ measured on."""
    data_weights: tuple[float, ...] = ()
    """Shares of the folders in a batch, relative to each other; default: their numbers of
    samples."""
    rendered: float = 0.5
    """Share of faces rendered on the way in a batch; all of it without --data."""
    steps: int = 20_000
    """Optimiser steps."""
    batch: int = 32
    """Crops per step."""
    faces: int = 100_000
    """Different rendered faces of an epoch; each epoch has new ones."""
    learning_rate: float = 5e-4
    """Peak of AdamW's rate; half a cosine to 0."""
    encoder_rate: float = 0.1
    """Of the encoder's rate over the branch's."""
    warm_up: int = 200
    """Steps in which the rate rises."""
    weight_decay: float = 0.05
    """Of weight matrices."""
    ema_decay: float = 0.999
    """Of the moving average of the weights, which is published."""
    held_out: int = 64
    """Rendered faces, of other people, to measure on."""
    precision: Literal["bf16", "fp32"] = "fp32"
    """Of the networks; the loss is always in fp32."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    workers: int = 1
    """Rendering processes; 0 renders between the steps."""
    keep_mb: float = 512.0
    """Decoded samples that each of these processes keeps, of every folder of --data [MiB]."""
    seed: int = 0
    """Every random draw follows from (seed, epoch, index)."""
    save_minutes: float = 5.0
    """Time between two checkpoints."""
    validate_every: int = 500
    """Steps between two measurements."""
    tensorboard: bool = False
    """Write OUT/tensorboard too."""
    licence: str = "as the encoder's and the head's licences allow"
    """What config.json says of the weights' licence."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "faces", "held_out"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag}: expected at least 1, got {getattr(self, name)}")
        if self.freeze_identity and self.identity is None:
            raise UserError("--freeze-identity: expected --identity PACK, whose network to keep")
        if not 0 < self.identity_rate <= 1 or not 0 <= self.neutral_weight < 1e6:
            raise UserError("expected --identity-rate above 0, up to 1, --neutral-weight 0 or more")
        if self.workers < 0 or self.validate_every < 0 or self.warm_up < 0:
            raise UserError("expected --workers, --validate-every and --warm-up of 0 or more")
        if not 0 < self.learning_rate < 1 or not 0 <= self.encoder_rate <= 1:
            raise UserError("expected --learning-rate between 0 and 1, --encoder-rate 0 to 1")
        if self.data_weights and len(self.data_weights) != len(self.data):
            raise UserError(
                f"--data-weights: expected one for each of {len(self.data)} folders of --data, "
                f"got {len(self.data_weights)}"
            )
        if any(not 0 < weight < 1e6 for weight in self.data_weights):
            raise UserError("--data-weights: expected numbers above 0")
        if not 0 <= self.rendered <= 1:
            raise UserError("--rendered: expected a share from 0 to 1")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.weight_decay < 1:
            raise UserError("expected --ema-decay and --weight-decay from 0 to 1")
        if not self.save_minutes > 0:
            raise UserError("expected --save-minutes above 0")
        if not self.keep_mb >= 0:
            raise UserError("expected --keep-mb of 0 or more")

    @property
    def joint(self) -> bool:
        """Whether an identity network is trained along."""
        return self.identity is not None and not self.freeze_identity


@dataclass(frozen=True, kw_only=True)
class Table8Config(ExpressionTrainingConfig):
    """Rows of the paper's Table 8: MICA, and a facial encoder beside it, trained jointly.

    `mica-ext train --preset table8 --encoder farl --encoder-weights FARL.pth --data samples/coma
    samples/famos samples/mica --out runs/farl`, with --freeze-identity for the row that equals MICA
    by construction. Meant for one GPU of 16 GB; proved on small trees of the layouts, so neither
    hours nor scores were measured. The paper gives no weights, steps or rates, and does not say how
    its encoder reaches the neutral shape that NoW scores: here through the posed vertices.
    """

    preset: Literal["expression", "table8"] = "table8"
    identity: str | None = "mica"
    head: str = "flame2020"
    tuned: bool = True
    rendered: float = 0.1
    steps: int = 40_000


PRESETS = {"table8": Table8Config}
"""By the names of --preset; without one `ExpressionTrainingConfig`."""
