"""Public files of other people that `flame-assets get NAME` keeps in the store.

    <home>/assets/<name>/<file>

A new file is one more entry of `CATALOGUE`. Hashes are pinned: a file that its maker replaces is
refused until the entry says so.
"""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flame_assets.errors import UserError
from flame_assets.files import sha256_of
from flame_assets.store import home


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file that is public and needs no account."""

    url: str
    bytes: int
    sha256: str
    licence: str
    about: str
    """What it is for, one line."""

    @property
    def file(self) -> str:
        """Its name in the store."""
        return self.url.rpartition("/")[2]


CATALOGUE = {
    "face-mesh": Asset(
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
        "float16/1/face_landmarker.task",
        bytes=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0, Google (MediaPipe)",
        about="Face Mesh V2: 478 points of a face, irises included",
    ),
}


class AssetStatus(NamedTuple):
    """One entry of the catalogue on this machine."""

    name: str
    asset: Asset
    path: Path
    present: bool
    intact: bool
    """Present, and its hash is the pinned one."""


def asset_path(name: str) -> Path:
    """Where the asset lies in the store once it is fetched.

    Raises:
        UserError: no asset has this name.
    """
    return home() / "assets" / name / _asset(name).file


def is_fetched(name: str) -> bool:
    """Whether the asset's file is there, in whatever state.

    Raises:
        UserError: it is unknown, or the store cannot be read.
    """
    path = asset_path(name)
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error


def require_asset(name: str) -> Path:
    """The file of a fetched asset.

    Raises:
        UserError: it is unknown, not fetched yet, cut short or damaged, or cannot be read.
    """
    path, asset = asset_path(name), _asset(name)
    if not is_fetched(name):
        raise UserError(f"{name} is not on this machine: get it with `flame-assets get {name}`")
    try:
        intact = is_intact(asset, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not intact:
        raise UserError(
            f"{path} is damaged or of another version: fetch it anew with `flame-assets get {name}`"
        )
    return path


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be read ({error.strerror}): allow it, or set PACOFR_HOME to another folder"
    )


def asset_status() -> list[AssetStatus]:
    """Every entry of the catalogue; files are read to check them."""
    paths = {name: asset_path(name) for name in CATALOGUE}
    return [
        AssetStatus(name, asset, paths[name], paths[name].is_file(), is_intact(asset, paths[name]))
        for name, asset in CATALOGUE.items()
    ]


def is_intact(asset: Asset, path: Path) -> bool:
    """Whether the file is there with the pinned size and hash.

    Raises:
        OSError: it is there and cannot be read.
    """
    if not path.is_file() or path.stat().st_size != asset.bytes:
        return False
    return sha256_of(path) == asset.sha256


def _asset(name: str) -> Asset:
    if name not in CATALOGUE:
        raise UserError(f"no asset {name!r}: expected {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
