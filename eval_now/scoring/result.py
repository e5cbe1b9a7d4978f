"""The result of a run: `result.json` and the distances of each protocol."""

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from eval_now.data.image_issues import ImageWarning, MissingImage
from eval_now.errors import UserError
from eval_now.io.files import open_atomic, write_bytes_atomic
from eval_now.scoring.score import ImageScore, Protocol, ScoredImage
from eval_now.scoring.statistics import Interval, Pooled, pool

FORMAT = "eval-now result"
VERSION = 1
RESULT_FILE = "result.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that decide what a run measures."""

    split: str
    dataset: str
    predictions: str
    predictor: str | None
    unit: str | None
    challenges: tuple[str, ...]
    image_list: str | None


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


def distances_file(folder: Path, protocol: Protocol) -> Path:
    """Path of the distances of one protocol: per image float32 [P] mm, in scan vertex order."""
    return folder / f"distances_{protocol}.npz"


def save_distances(folder: Path, protocol: Protocol, scored: list[ScoredImage]) -> None:
    """Write the distances of one protocol."""
    with open_atomic(distances_file(folder, protocol)) as file:
        np.savez(file, **{image.score.image: image.distances for image in scored})  # pyright: ignore[reportArgumentType]


def load_distances(folder: Path, protocol: Protocol) -> dict[str, Float32[np.ndarray, " P"]]:
    """Read the distances of one protocol, by image name."""
    path = distances_file(folder, protocol)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: not readable ({error}); run `eval-now` for this folder again"
        ) from None


def clear_results(folder: Path) -> None:
    """Delete the result, distances and heat maps of an earlier run in this folder."""
    earlier = [folder / RESULT_FILE, *folder.glob("distances_*.npz")]
    for rank in ("worst", "median", "best"):
        earlier += folder.glob(f"heatmaps/*/{rank}_*.png")
    for path in earlier:
        path.unlink(missing_ok=True)


def save_result(folder: Path, result: RunResult) -> None:
    """Write result.json."""
    content = {"format": FORMAT, "version": VERSION, "unit": "mm", **asdict(result)}
    content["warnings"] = [warning._asdict() for warning in result.warnings]
    write_bytes_atomic(folder / RESULT_FILE, (json.dumps(content, indent=1) + "\n").encode())


def load_result(folder: Path) -> RunResult:
    """Read the result.json of a run's folder."""
    path = folder / RESULT_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise UserError(f"{path}: expected '{FORMAT}' version {VERSION}; run `eval-now` again")
        return RunResult(
            name=content["name"],
            created=content["created"],
            complete=content["complete"],
            images_listed=content["images_listed"],
            settings=Settings(
                **{**content["settings"], "challenges": tuple(content["settings"]["challenges"])}
            ),
            software=tuple(content["software"]),
            protocols=tuple(_load_protocol(entry) for entry in content["protocols"]),
            missing=tuple(MissingImage(**entry) for entry in content["missing"]),
            warnings=tuple(ImageWarning(**entry) for entry in content["warnings"]),
        )
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); expected a folder of `eval-now`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a result of eval-now ({type(error).__name__}: {error})"
        ) from None


def _load_protocol(entry: dict[str, Any]) -> ProtocolResult:
    return ProtocolResult(
        protocol=entry["protocol"],
        pooled=_load_pooled(entry["pooled"]),
        challenges=tuple(
            ChallengeResult(
                challenge=challenge["challenge"], pooled=_load_pooled(challenge["pooled"])
            )
            for challenge in entry["challenges"]
        ),
        images=tuple(
            ImageScore(
                **{
                    **image,
                    "rotation": tuple(tuple(row) for row in image["rotation"]),
                    "shift": tuple(image["shift"]),
                }
            )
            for image in entry["images"]
        ),
    )


def _load_pooled(entry: dict[str, Any]) -> Pooled:
    intervals = {
        name: None if entry[name] is None else Interval(**entry[name])
        for name in ("median_ci", "mean_ci", "std_ci")
    }
    return Pooled(**{**entry, **intervals})
