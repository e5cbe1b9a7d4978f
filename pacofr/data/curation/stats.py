"""What becomes of the files of a curation's sources, counted."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why a photo gave no crop."""

    UNREADABLE = "unreadable"
    """Not an image, damaged, or beyond a bound of `pacofr.utils.budgets`."""
    CUT_SHARD = "cut shard"
    """The source's tar is damaged from some place on; counted once, what stands before is used."""
    NO_DETECTION = "not in the detections"
    """LAION-Face's files have no entry for it."""
    CONDITION = "other metadata"
    """Its JSON does not meet the conditions (`--where`)."""
    NO_FACE = "no face"
    SMALL = "small"
    LOW_SCORE = "low score"
    NOT_A_FACE = "not a face"
    """The five points lie as in no upright face, or MTCNN's last network disagrees."""
    BLURRED = "blurred"
    CRASHED = "crashed a decoder"
    """Killed a worker process; its neighbours of the same batch count with it."""


class LeftOut(StrEnum):
    """Why something in a source was not looked at as a photo."""

    HIDDEN = "hidden"
    """Its name begins with a dot: macOS's `._` files, for example."""
    LINK = "link in a tar"
    """To a member that counts where it stands."""
    SPARSE = "sparse or device in a tar"
    ARCHIVE = "archive of another kind"
    """Only plain tars are read."""
    NO_PICTURE = "no picture"
    """By its name and its first bytes."""
    NO_FILE = "no regular file"
    """A broken link, a device, a FIFO."""
    REPEATED_FOLDER = "folder reached twice"
    """By a link; read once."""
    UNREADABLE_FOLDER = "unreadable folder"


class Count(NamedTuple):
    """How many, and the name of the first one."""

    count: int
    example: str


class Counter:
    """Counts by reason, each with an example."""

    def __init__(self, counts: Mapping[str, Count] | None = None) -> None:
        self.counts: dict[str, Count] = dict(counts or {})

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Count something of that name."""
        before = self.counts.get(str(reason))
        total, example = before or Count(0, readable(name))
        self.counts[str(reason)] = Count(total + count, example)

    def merge(self, counts: Mapping[str, Count]) -> None:
        """Add what was counted elsewhere."""
        for reason, each in counts.items():
            self.add(reason, each.example, each.count)


def in_words(counts: Mapping[str, Count], *, examples: bool = False) -> str:
    """Counts as a line for people."""
    texts = [
        f"{each.count} {reason}" + (f" ({each.example})" if examples else "")
        for reason, each in counts.items()
    ]
    return ", ".join(texts) or "none"


def readable(name: str) -> str:
    """A file's name as text that every encoding holds."""
    return name.encode("utf-8", "backslashreplace").decode()


class CurateStats(NamedTuple):
    """What a curation did; stats.json holds the same."""

    photos: int
    """Looked at, by this call or an earlier one."""
    kept: int
    rejected: Mapping[str, Count]
    """Photos that each `Reason` cost."""
    left_out: Mapping[str, Count]
    """What else lies in the sources, by `LeftOut`."""
    shards: int
    new_photos: int
    """Looked at by this call."""
    seconds: float
    """Taken by this call."""
    complete: bool
    """All parts are done and the index is written."""
