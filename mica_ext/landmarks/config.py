"""Options of `mica-ext train-landmarks` and `mica-ext evaluate-landmarks`; imports no torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LandmarkTrainingConfig:
    """Train the 68-landmark network: on Helen's photos, then on photos and rendered heads.

    The shipped weights: `mica-ext train-landmarks --helen HELEN/trainset --out RUN`, some 25
    minutes of one core with bf16 matrix instructions (80 crops per second).
    """

    helen: Path
    """Folder of training photos with 68 landmarks each: NAME.jpg beside NAME.pts (iBUG order)."""
    out: Path
    """Folder of the run; started again with the same options, the run goes on where it stopped.

    With others that would change the weights it is refused.
    """
    photo_epochs: int = 120
    """Passes over the photos before rendered heads join."""
    mixed_steps: int = 1800
    """Steps on photos and rendered heads together."""
    heads: int = 1500
    """Different heads to render."""
    batch: int = 48
    """Crops per step; of the mixed steps' crops an eighth are rendered."""
    learning_rate: float = 2e-3
    """Peak of the warm-up and cosine schedule (AdamW) on photos."""
    mixed_learning_rate: float = 1.5e-3
    """The same for the mixed steps."""
    holdout: int = 70
    """Photos kept out of training to watch the run."""
    seed: int = 0
    """Every random draw follows from (seed, epoch, index)."""
    threads: int = 1
    """CPU threads."""
    save_every: int = 200
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        if self.batch < 8 or self.photo_epochs < 1 or self.save_every < 1 or self.heads < 1:
            raise ValueError("batch >= 8; photo_epochs, heads and save_every >= 1")
        if self.mixed_steps < 0 or self.holdout < 0:
            raise ValueError("mixed_steps and holdout >= 0")


@dataclass(frozen=True, kw_only=True)
class LandmarkEvaluationConfig:
    """Measure the 68 landmarks and the photo fit on photos that neither was trained on."""

    helen: Path
    """Helen's folder, with trainset (for the two baselines) and testset."""
    london: Path | None = None
    """Folder of the London set, with neutral_front and smiling_front."""
    head: str = "auto"
    """Head to fit: a name or a folder."""
    weights: Path | None = None
    """Folder of landmark weights; without it those shipped."""
    out: Path | None = None
    """Also write the figures to this JSON file."""
    threads: int = 1
    """CPU threads."""
