"""Options of `mica-ext train-landmarks` and `mica-ext evaluate-landmarks`; imports no torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LandmarkTrainingConfig:
    """Train the 68-landmark network: a teacher on Helen, then a student on its labels too.

    One core with bf16 matrix instructions runs about 120 samples per second.
    """

    helen: Path
    """Folder of training photos with 68 landmarks each: NAME.jpg beside NAME.pts (iBUG order)."""
    out: Path
    """Folder of the run; started again with the same options, the run goes on where it stopped."""
    lfw: Path | None = None
    """Folder of tar shards of unlabelled face photos; the teacher labels them for the student."""
    synthetic: int = 0
    """Rendered Anthro heads with exact landmarks mixed in."""
    teacher_epochs: int = 160
    """Passes of the teacher over the labelled photos."""
    student_samples: int = 250_000
    """Crops the student sees in all; without unlabelled photos the teacher is the result."""
    batch: int = 48
    """Crops per step."""
    learning_rate: float = 2e-3
    """Peak of the warm-up and cosine schedule (AdamW)."""
    holdout: int = 70
    """Labelled photos kept out of training to watch the run."""
    seed: int = 0
    """Every random draw follows from (seed, epoch, index)."""
    threads: int = 1
    """CPU threads."""
    save_every: int = 200
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        if self.batch < 2 or self.teacher_epochs < 1 or self.save_every < 1 or self.holdout < 0:
            raise ValueError("batch >= 2, teacher_epochs >= 1, save_every >= 1, holdout >= 0")


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
