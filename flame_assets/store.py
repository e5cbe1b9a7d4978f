"""Where heads live on this machine, and `load_head`, the one way to get one.

    <home>/heads/<name>/          converted FLAME models, each a HeadModel folder
    <home>/cache/anthro-<key>/    Anthro as built by the code with that key
    <home>/downloads/             archives as they came

<home> is $PACOFR_HOME, by default the user's cache folder for `pacofr`.
"""

import contextlib
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import platformdirs

from flame_assets.errors import UserError
from flame_assets.model.head import NAME, HeadModel
from flame_assets.model.head_io import is_intact, load_head_folder, save_head
from flame_assets.model.manifest import FORMAT_VERSION, MANIFEST, TENSORS, read_manifest

LOGGER = logging.getLogger(__name__)
PREFERRED = ("flame2020-generic", "flame2023", "flame2023-open")  # by "auto"; MICA's is 2020
ON_REQUEST = ("gnm", "ict")
"""Heads that "auto" does not take: the fit to photos is not measured on them yet."""
KEPT_ANTHROS = 3


class HeadStatus(NamedTuple):
    """One head on disk, for people to read."""

    name: str
    folder: Path
    version: str
    licence: str
    bytes: int
    sha256: str
    intact: bool  # the tensors' checksum is the manifest's


def home() -> Path:
    """The folder of everything kept on this machine; it need not exist yet."""
    folder = os.environ.get("PACOFR_HOME")
    if not folder:
        return platformdirs.user_cache_path("pacofr")
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:  # ~user of nobody
        raise UserError(
            f"PACOFR_HOME={folder}: no such home folder; set it to a folder that can be made"
        ) from error


def heads_folder() -> Path:
    """Folder of the converted heads."""
    return home() / "heads"


def downloads_folder() -> Path:
    """Folder of downloaded archives."""
    return home() / "downloads"


def load_head(name_or_path: str | Path = "auto") -> HeadModel:
    """A head by name or folder.

    "auto" is a converted FLAME if there is one, else Anthro; "anthro" builds Anthro or takes it
    from the cache; "flame2020" stands for "flame2020-generic"; a path is a head folder.

    Raises:
        UserError: there is no such head, or it is damaged.
    """
    name = str(name_or_path)
    if name == "auto":
        found = installed_heads()
        others = [other for other in found if other not in ON_REQUEST]
        name = next((best for best in (*PREFERRED, *others) if best in found), "anthro")
    if name == "anthro":
        return _load_anthro()
    for folder in (heads_folder() / name, heads_folder() / f"{name}-generic", Path(name_or_path)):
        if (folder / MANIFEST).is_file():
            return load_head_folder(folder)
    if Path(name_or_path).is_dir():
        return load_head_folder(Path(name_or_path))  # says what is missing in it
    known = ", ".join(["auto", "anthro", *installed_heads()])
    raise UserError(
        f"no head {name!r}: expected {known} or a folder; "
        "get FLAME with `flame-assets download flame2020` or `flame-assets convert FILE`"
    )


def check_name(name: str) -> None:
    """Refuse, as a `UserError`, what no kept head can be called."""
    if name in ("auto", "anthro"):
        raise UserError(f"a head cannot be called {name!r}; choose another with --name")
    if not NAME.fullmatch(name):
        raise UserError(
            f"--name: expected letters, digits and . _ - (my-head), got {name!r}; choose another"
        )


def add_head(head: HeadModel) -> Path:
    """Keep `head` under its name for `load_head`; an older one of that name is replaced."""
    check_name(head.name)
    return save_head(head, heads_folder() / head.name)


def status() -> list[HeadStatus]:
    """All heads on this machine, converted ones first; each file is read to check it."""
    folders = [*installed_heads().values(), *_anthro_folders()]
    return [_status_of(folder) for folder in folders]


def installed_heads() -> dict[str, Path]:
    """Folders of the converted heads by name."""
    folders = sorted(path.parent for path in heads_folder().glob(f"[!.]*/{MANIFEST}"))
    return {folder.name: folder for folder in folders}


def _status_of(folder: Path) -> HeadStatus:
    try:
        manifest = read_manifest(folder)
        return HeadStatus(
            name=manifest.name,
            folder=folder,
            version=manifest.version,
            licence=manifest.licence,
            bytes=(folder / TENSORS).stat().st_size,
            sha256=manifest.sha256,
            intact=is_intact(folder, manifest),
        )
    except (UserError, OSError):
        return HeadStatus(folder.name, folder, "?", "?", 0, "?", intact=False)


def _load_anthro() -> HeadModel:
    """Anthro, built once per version of its source code."""
    folder = home() / "cache" / f"anthro-{_anthro_key()}"
    with contextlib.suppress(UserError, OSError):  # damaged, or being replaced: build again
        if folder.is_dir():
            return load_head_folder(folder)
    from flame_assets.anthro import build_anthro

    head = build_anthro()
    try:
        save_head(head, folder)
    except (UserError, OSError) as error:
        LOGGER.warning("Anthro is built anew each time: %s", error)
    with contextlib.suppress(OSError):  # another process may be tidying up too
        for old in _anthro_folders()[KEPT_ANTHROS:]:
            shutil.rmtree(old, ignore_errors=True)
    return head


def _anthro_key() -> str:
    """Changes with any source that Anthro or its file format is made from."""
    package = Path(__file__).parent
    sources = sorted(p for p in (package / "anthro").rglob("*") if p.suffix in (".py", ".json"))
    digest = hashlib.sha256(str(FORMAT_VERSION).encode())
    for path in (package / "model" / "head.py", package / "arkit.py", *sources):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _anthro_folders() -> list[Path]:
    """Built Anthros, newest first."""
    folders = [path.parent for path in (home() / "cache").glob(f"anthro-*/{MANIFEST}")]
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
