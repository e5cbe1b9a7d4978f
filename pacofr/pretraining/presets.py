"""Complete pre-training configurations by name, and the rows of the paper's Table 7; no torch.

A preset (`PRESETS`) is a whole run; a row of Table 7 (`ABLATIONS`) turns any preset into that row.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.pretraining.config import (
    DataConfig,
    DecoderConfig,
    LossConfig,
    OptimConfig,
    PaCoFRConfig,
    PredictorConfig,
    PretrainConfig,
)


def paper() -> PretrainConfig:
    """ViT-B/16, batch 720, 32 epochs of 2 M faces: 17 h on 8 V100 in the paper (LaPa F1 92.52).

    torchrun --nproc-per-node 8 -m pacofr pretrain paper --shards SHARDS --out RUN
    --loss.perceptual-weights vit-b-300ep.pth.tar
    """
    return PretrainConfig(data=DataConfig(held_out=2048), compile=True)


def paper_20m() -> PretrainConfig:
    """`paper` on 20 M faces; the paper gives no number of epochs for it, so the same 32."""
    return paper()


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


def micro_64() -> PretrainConfig:
    """64 px in 8 px patches (64 positions, none of them border alone), width 128, 6 blocks.

    pacofr pretrain micro-64 --shards SHARDS --out RUN: 180 images a second on one core of a server
    CPU with AVX512-BF16; 56,000 images, 4 epochs of LFW and Helen, separate random weights from
    pre-trained ones (`pacofr probe`).
    """
    run = micro()
    model = dataclasses.replace(
        run.model, encoder=dataclasses.replace(run.model.encoder, image_size=64)
    )
    return dataclasses.replace(
        run, model=model, optim=OptimConfig(base_lr=0.01), epochs=30, batch_size=32
    )


def micro_mended() -> PretrainConfig:
    """`micro-64` with the reading of the paper that is at least as good as one shared token here.

    pacofr pretrain micro-mended --shards SHARDS --out RUN: tokens from k-means, 8 at each position;
    the masked patches take random ones, and which one a patch is nearest to is a second target of
    the encoder beside the pixels, for the whole run. No choice enters the input, so none tells the
    encoder about the patch. As fast as `micro-64`.
    """
    return ABLATIONS["mended"].apply(micro_64())


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
    "micro-64": micro_64,
    "micro-mended": micro_mended,
}
"""Complete runs by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """One row of Table 7, or the mended method, as a change to the codebook and the predictor."""

    candidates: int
    selection: Literal["predictor", "random"]
    shared: bool = False
    incubation: bool = True
    mended: bool = False
    """Tokens from k-means, random ones in the input, the belief a second target of the encoder."""

    def apply(self, config: PretrainConfig) -> PretrainConfig:
        """The same run under this row's method; everything else stays."""
        codebook = dataclasses.replace(
            config.model.codebook, candidates=self.candidates, shared=self.shared
        )
        predictor = dataclasses.replace(config.model.predictor, selection=self.selection)
        if self.mended:
            codebook = dataclasses.replace(codebook, init="kmeans")
            predictor = dataclasses.replace(
                predictor, reads="encoder", candidates_from="tokens", similarity="l2"
            )
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
    "mended": Ablation(candidates=8, selection="predictor", mended=True),
}
"""Table 7's rows by name, "3x196-predictor" the method itself; and the method mended."""


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
