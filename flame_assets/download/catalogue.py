"""Public files of other people that `flame-assets get NAME` keeps in the store.

    <home>/assets/<name>/<file>

A new file is one more entry of `CATALOGUE`. Hashes are pinned where one is known: a file that its
maker replaces is refused until the entry says so. Where none is known, the content is checked: the
file must be a whole one of its kind.
"""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from flame_assets.errors import UserError
from flame_assets.files import sha256_of
from flame_assets.inert.budgets import ARCHIVE_UNPACKED
from flame_assets.inert.checkpoints import TorchFile
from flame_assets.inert.files import ReadError, errors_of, open_regular
from flame_assets.inert.zips import ZipReader
from flame_assets.store import home

Kind = Literal["torch", "zip", "any"]
_GNM_COMMIT = "4fa7372b17efe0e324bd579706b718b248cfdea2"
_INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
_INSIGHTFACE_LICENCE = "non-commercial research only, insightface (model zoo)"


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file that is public and needs no account."""

    url: str
    licence: str
    about: str
    """What it is for, one line."""
    bytes: int | None = None
    sha256: str | None = None
    """None where no hash is known: then `kind` is checked."""
    kind: Kind = "any"
    """What the content must be: a PyTorch checkpoint, a whole zip archive, or anything."""
    md5_start: str = ""
    """First digits of the MD5 where its maker states only those."""
    name: str | None = None
    """Its name in the store, if not the address's."""
    needs: tuple[str, ...] = ()
    """Further entries that are fetched with it."""
    then: str | None = None
    """The command that uses it, with FILE in it."""

    @property
    def file(self) -> str:
        """Its name in the store."""
        return self.name or self.url.rpartition("/")[2]

    @property
    def check(self) -> str:
        """How it is checked, for people."""
        return f"sha256 {self.sha256}" if self.sha256 else "content only: no hash is published"


CATALOGUE = {
    "face-mesh": Asset(
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
        "float16/1/face_landmarker.task",
        bytes=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0, Google (MediaPipe)",
        about="Face Mesh V2: 478 points of a face, irises included",
    ),
    "gnm": Asset(
        url="https://huggingface.co/google/gnm-v3/resolve/main/v3_0/gnm_head.npz",
        bytes=53_328_601,
        sha256="61d78bbfb4ad8e0b38495804a4caef3214d3df00f8c3f68761e63b41ce3747eb",
        licence="Apache-2.0, Google (GNM Head v3)",
        about="GNM Head v3: an open head of 253 identity and 383 expression modes",
        needs=("gnm-landmarks",),
        then="reconstruct photo.jpg --head gnm --out mesh.obj",
    ),
    "gnm-landmarks": Asset(
        url=f"https://raw.githubusercontent.com/ruofeidu/GNM/{_GNM_COMMIT}/gnm/shape/data/landmarks/"
        "head_sparse_68.txt",
        bytes=2_293,
        sha256="8b4b759042cae8b67062794306dae9d60fc7ba11ddad60461ba3e2bfaaeac222",
        licence="Apache-2.0, Google (GNM Head v3)",
        about="the 68 landmarks of GNM Head v3",
    ),
    "mica": Asset(
        url="https://keeper.mpdl.mpg.de/f/db172dc4bd4f4c0f96de/?dl=1",
        name="mica.tar",
        kind="torch",
        licence="MICA licence, non-commercial scientific research",
        about="MICA's checkpoint: identity from a photo, for FLAME 2020",
        then="mica-ext import FILE",
    ),
    "farl": Asset(
        url="https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/"
        "FaRL-Base-Patch16-LAIONFace20M-ep16.pth",
        kind="torch",
        licence="MIT, FaRL",
        about="FaRL ViT-B/16, 16 epochs: a face encoder",
        then="pacofr probe farl:FILE --photos HELEN",
    ),
    "farl-ep64": Asset(
        url="https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/"
        "FaRL-Base-Patch16-LAIONFace20M-ep64.pth",
        kind="torch",
        licence="MIT, FaRL",
        about="the same after 64 epochs",
        then="pacofr probe farl:FILE --photos HELEN",
    ),
    "moco-v3": Asset(
        url="https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/vit-b-300ep.pth.tar",
        kind="torch",
        licence="CC BY-NC 4.0, Meta (MoCo-v3)",
        about="MoCo-v3 ViT-B/16: the paper's perceptual net",
        then="pacofr pretrain paper --loss.perceptual-weights FILE",
    ),
    "mae": Asset(
        url="https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
        kind="torch",
        md5_start="8cad7c",
        licence="CC BY-NC 4.0, Meta (MAE)",
        about="MAE ViT-B/16: an encoder for comparison",
        then="pacofr probe mae:FILE --photos HELEN",
    ),
    "antelopev2": Asset(
        url=f"{_INSIGHTFACE}/antelopev2.zip",
        kind="zip",
        licence=_INSIGHTFACE_LICENCE,
        about="MICA's face detector SCRFD (with ArcFace, which is not used)",
        then="reconstruct photo.jpg --detector mica --out mesh.obj",
    ),
    "buffalo-l": Asset(
        url=f"{_INSIGHTFACE}/buffalo_l.zip",
        kind="zip",
        licence=_INSIGHTFACE_LICENCE,
        about="another pack with SCRFD, where antelopev2 cannot be had",
        then="reconstruct photo.jpg --detector mica --out mesh.obj",
    ),
}


class AssetStatus(NamedTuple):
    """One entry of the catalogue on this machine."""

    name: str
    asset: Asset
    path: Path
    present: bool
    intact: bool
    """Present, with the pinned hash or content of its kind."""


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
    """Whether the file is there with the pinned size and hash, or with content of its kind.

    Raises:
        OSError: it is there and cannot be read.
    """
    if not path.is_file() or asset.bytes not in (None, path.stat().st_size):
        return False
    if asset.sha256 is not None:
        return sha256_of(path) == asset.sha256
    if asset.md5_start and not _md5_of(path).startswith(asset.md5_start):
        return False
    return damage(asset, path) is None


def damage(asset: Asset, path: Path) -> str | None:
    """What is wrong with a file without a pinned hash, from its content; None: nothing."""
    try:
        if asset.kind == "torch":
            with TorchFile(path) as file:
                if not isinstance(file.content, dict):
                    return "it holds no named tensors"
        if asset.kind == "zip":
            with errors_of(path), open_regular(path) as file:
                ZipReader(file, ARCHIVE_UNPACKED).verify()
    except ReadError as error:
        return f"it {error.reason}"
    return None


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _asset(name: str) -> Asset:
    if name not in CATALOGUE:
        raise UserError(f"no asset {name!r}: expected {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
