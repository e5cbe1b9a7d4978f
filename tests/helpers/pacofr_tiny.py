"""A pre-training small enough for tests, in memory; also run as a script by tests that kill it.

python tests/helpers/pacofr_tiny.py OUT [--epochs N] [--batch N] [--slow SECONDS] ...
"""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

import numpy as np

from pacofr.models.config import VitConfig
from pacofr.pretraining.config import (
    CodebookConfig,
    DataConfig,
    DecoderConfig,
    LossConfig,
    OptimConfig,
    PaCoFRConfig,
    PredictorConfig,
    PretrainConfig,
)

IMAGES = 50


class TinyCrops:
    """Smooth random pictures; the flip depends on (epoch, position) as it does in the shards."""

    def __init__(self, size: int = 32, slow: float = 0.0, images: int = IMAGES) -> None:
        rng = np.random.default_rng(7)
        coarse = rng.integers(0, 256, (images, 3, 4, 4), dtype=np.uint8)
        self.pixels = coarse.repeat(size // 4, axis=2).repeat(size // 4, axis=3)
        self.slow = slow
        self.fingerprint = f"tiny-{images}"

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        time.sleep(self.slow)
        found = self.pixels[positions]
        flip = (positions + epoch) % 2 == 0
        found[flip] = found[flip][..., ::-1]
        return found


def tiny_config(**changes: object) -> PretrainConfig:
    """16 patches, 2 blocks; incubation ends in the second epoch, in the middle of it."""
    config = PretrainConfig(
        model=PaCoFRConfig(
            encoder=VitConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2),
            codebook=CodebookConfig(candidates=3),
            predictor=PredictorConfig(hidden=16, incubation_steps=8),
            decoder=DecoderConfig(width=32, heads=2),
        ),
        loss=LossConfig(perceptual_net="none"),
        optim=OptimConfig(base_lr=2e-2),
        data=DataConfig(workers=0),
        epochs=3,
        batch_size=10,
        precision="fp32",
        checkpoint_minutes=60.0,
        pictures_every=0,
    )
    return dataclasses.replace(config, **changes)


def mended(config: PretrainConfig) -> PretrainConfig:
    """With k-means tokens, balanced labels and a belief that is a target of the encoder."""
    predictor = dataclasses.replace(
        config.model.predictor,
        reads="encoder",
        candidates_from="tokens",
        similarity="l2",
        balance="sinkhorn",
    )
    codebook = CodebookConfig(init="kmeans", lr_factor=20.0)
    model = dataclasses.replace(config.model, predictor=predictor, codebook=codebook)
    return dataclasses.replace(config, model=model)


def main() -> int:
    """Run it and hand back its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--checkpoint-seconds", type=float, default=3600.0)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--mended", action="store_true")
    given = parser.parse_args()

    import torch

    from pacofr.engine.task import RunOptions
    from pacofr.errors import run_command
    from pacofr.pretraining.train import pretrain

    torch.set_num_threads(1)
    config = tiny_config(
        epochs=given.epochs,
        batch_size=given.batch,
        accumulate=given.accumulate,
        checkpoint_minutes=given.checkpoint_seconds / 60,
        data=DataConfig(workers=given.workers),
    )
    config = mended(config) if given.mended else config
    crops = TinyCrops(slow=given.slow)
    return run_command(lambda: pretrain(config, crops, RunOptions(out=given.out, device="cpu")))


if __name__ == "__main__":
    code = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from pacofr.engine.distributed import end_process

        end_process(code)
    sys.exit(code)
