"""The result of a run."""

from dataclasses import dataclass

from eval_now.data.image_issues import ImageWarning, MissingImage
from eval_now.data.layout import Split
from eval_now.predictions.files import Unit
from eval_now.scoring.score import ImageScore, Protocol, ScoredImage
from eval_now.scoring.statistics import Pooled, pool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that decide what a run measures.

    Folders and files are names; the ids tell whether two runs had the same ones (None in results of
    earlier versions, which hold paths instead).
    """

    split: Split
    dataset: str
    predictions: str
    predictor: str | None
    unit: Unit | None
    challenges: tuple[str, ...]
    image_list: str | None
    dataset_id: str | None = None
    predictions_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChallengeResult:
    """Pooled figures of one challenge."""

    challenge: str
    pooled: Pooled


@dataclass(frozen=True, kw_only=True)
class ProtocolResult:
    """Figures of one protocol: all images, by challenge, image by image."""

    protocol: Protocol
    pooled: Pooled
    challenges: tuple[ChallengeResult, ...]
    images: tuple[ImageScore, ...]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One run; `complete` is False if images are missing: such figures must not be compared."""

    name: str
    created: str
    complete: bool
    images_listed: int
    settings: Settings
    software: tuple[str, ...]
    protocols: tuple[ProtocolResult, ...]
    missing: tuple[MissingImage, ...]
    warnings: tuple[ImageWarning, ...]


def protocol_result(protocol: Protocol, scored: list[ScoredImage]) -> ProtocolResult:
    """Pool the images of one protocol, together and by challenge."""
    names = sorted({image.score.challenge for image in scored})
    return ProtocolResult(
        protocol=protocol,
        pooled=pool(scored),
        challenges=tuple(
            ChallengeResult(
                challenge=name,
                pooled=pool([image for image in scored if image.score.challenge == name]),
            )
            for name in names
        ),
        images=tuple(image.score for image in scored),
    )
