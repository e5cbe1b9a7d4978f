"""Options of `mica-ext train-landmarks`, `calibrate-points` and `evaluate-landmarks`.

Imports no torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mica_ext.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LandmarkTrainingConfig:
    """Train the 478-point landmark network on any photos of faces; a teacher labels them.

    The shipped weights: `mica-ext train-landmarks --photos LFW HELEN/trainset --out RUN`, some 3
    hours of a core with AVX-512, then 8.5 minutes of a shared H100 from there (`--init-from
    RUN/model --whole-steps 1600 --parts-steps 3200 --confidence-steps 550 --batch 96
    --learning-rate 0.0025 --workers 8`: 1,300 crops a second of 128 pixels, 1,050 of 224). Before,
    `flame-assets get face-mesh` fetches the teacher.
    """

    photos: tuple[Path, ...]
    """Folders of photos, or .tar files of them; no markup is needed."""
    out: Path
    """Folder of the run; started again with the same options, the run goes on where it stopped.

    With others that would change the weights it is refused.
    """
    teacher: Literal["face-mesh"] = "face-mesh"
    """Whose points are learned."""
    teacher_file: Path | None = None
    """The teacher's file, if it is not the one that `flame-assets get` keeps."""
    init_from: Path | None = None
    """Folder of weights to go on from, as the folder `model` of a run."""
    licence: str = "as the photos allow: trained on them with Face Mesh V2's points (Apache-2.0)"
    """What config.json says of the weights' licence."""
    whole_steps: int = 7200
    """First steps, on crops of 128 pixels: the whole face."""
    parts_steps: int = 2400
    """Steps on crops of 224 pixels with milder changes: also the patches of eyes and mouth."""
    confidence_steps: int = 1000
    """Last steps, of the confidences alone, on more faces that are covered and on no faces."""
    heads: int = 1600
    """Different heads to render, so that profiles are learned."""
    batch: int = 32
    """Crops per step: a sixth of rare faces, a sixth of sharp ones, a tenth of rendered heads."""
    learning_rate: float = 2e-3
    """Peak of AdamW's rate in each stage."""
    holdout: int = 256
    """Faces kept out of training to watch the run."""
    seed: int = 0
    """Every random draw follows from (seed, epoch, index)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network computes; auto is cuda where there is one."""
    workers: int = 0
    """Processes that make the crops, some 150 a second each; a GPU takes what all cores make. 0
    makes them between the steps. They change no number."""
    threads: int = 1
    """CPU threads of the training process, and of each worker."""
    save_minutes: float = 5.0
    """Time between two checkpoints."""
    validate_every: int = 500
    """Steps between two measurements on the faces kept out."""

    def __post_init__(self) -> None:
        if not self.photos:
            raise UserError("expected at least one folder of photos: --photos DIR")
        for name, least in (
            ("batch", 8),
            ("whole_steps", 0),
            ("parts_steps", 1),
            ("confidence_steps", 0),
            ("heads", 1),
        ):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')}: expected at least {least}")
        if min(self.holdout, self.validate_every, self.workers) < 0 or self.threads < 1:
            raise UserError(
                "expected --holdout, --validate-every and --workers >= 0, --threads >= 1"
            )
        if not 0 < self.learning_rate < 1 or not self.save_minutes > 0:
            raise UserError("expected --learning-rate between 0 and 1, --save-minutes above 0")


@dataclass(frozen=True, kw_only=True)
class PointCalibrationConfig:
    """Measure the mean person's points, and how far points follow lids, brows and lips.

    The shipped files: `mica-ext calibrate-points --neutral LONDON/neutral_front --subjects even
    --annotated HELEN/trainset --points student --out point_calibration.json`, two minutes, and the
    same with `--points face-mesh`.
    """

    neutral: Path
    """Folder of photos of neutral people who look into the camera."""
    subjects: Literal["all", "even", "odd"] = "all"
    """Of photos whose names begin with a person's number, those with such numbers."""
    annotated: Path | None = None
    """Folder of photos NAME.jpg with 68 landmarks NAME.pts; without it points are taken to follow
    fully."""
    out: Path
    """File to write; it is used as point_calibration.json beside the network's weights."""
    points: Literal["auto", "student", "face-mesh"] = "auto"
    """Whose points: the student's, Face Mesh's, or auto: Face Mesh's where it is installed."""
    weights: Path | None = None
    """Folder of the student's weights; without it those shipped."""
    head: str = "anthro"
    """Head that is fitted to the annotated photos."""
    licence: str = "as the photos and annotations allow"
    """What the file says of its licence."""
    sources: str = "photos of the user"
    """What the file says of its photos."""
    threads: int = 1
    """CPU threads."""


@dataclass(frozen=True, kw_only=True)
class LandmarkEvaluationConfig:
    """Measure the points and the photo fit on photos that neither was trained on."""

    helen: Path
    """Helen's folder, with trainset (for the two baselines) and testset."""
    london: Path | None = None
    """Folder of the London set, with neutral_front and smiling_front."""
    subjects: Literal["all", "even", "odd"] = "all"
    """London's people to measure on, by their numbers; the even ones calibrate the shipped points.
    """
    head: str = "auto"
    """Head to fit: a name or a folder."""
    points: Literal["auto", "student", "face-mesh"] = "student"
    """Whose points: the student's, Face Mesh's, or auto: Face Mesh's where it is installed."""
    weights: Path | None = None
    """Folder of the student's weights; without it those shipped."""
    out: Path | None = None
    """Also write the figures to this JSON file."""
    threads: int = 1
    """CPU threads."""
