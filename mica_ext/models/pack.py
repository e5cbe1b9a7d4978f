"""Model packs: which head and which networks belong together.

    PACK/pack.json      format, version, name, licence, head, and the networks' folders beside it
    PACK/<landmarks>/   config.json, model.safetensors; without it the network of this package
    PACK/<identity>/    config.json, model.safetensors: MICA's identity network, where there is one
    PACK/<expression>/  the same: encoder and expression branch, where there are
    PACK/README.md      the card, for people

The pack that comes with the package is `mica_ext/weights`; `anthro-expression`, in a folder of it,
has an expression network, too. Others lie in the store by their names (`<home>/packs/NAME`) or
anywhere.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flame_assets.model.head import NAME
from flame_assets.store import home, installed_heads
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import from_json, read_json

FORMAT, VERSION = "mica-ext pack", 3
PACK_FILE, CARD = "pack.json", "README.md"
MAX_BYTES = 1 << 20
SHIPPED = Path(__file__).parents[1] / "weights"
EXPRESSION = "anthro-expression"
"""Name of the shipped pack with an expression network, of Anthro."""
MICA = "mica"
"""Name of the pack that `mica-ext import` makes; "auto" prefers it."""
FLAME_2020 = "flame2020-generic"


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A pack as its pack.json names it; networks are folders, resolved and existing."""

    name: str
    licence: str
    """Of the pack as a whole, one line."""
    head: str
    """For `flame_assets.store.load_head`."""
    landmarks: Path
    """Folder of the landmark network."""
    identity: Path | None = None
    """Folder of the identity network."""
    expression: Path | None = None
    """Folder of the expression network."""


class _PackFile(NamedTuple):
    """pack.json."""

    format: str
    version: int
    name: str
    licence: str
    head: str
    landmarks: str | None
    identity: str | None
    expression: str | None


ADDED_KEYS: dict[int, tuple[str, ...]] = {2: ("identity",), 3: ("expression",)}
"""Networks that packs have since a version."""


def packs_folder() -> Path:
    """Folder of the packs that are known by name."""
    return home() / "packs"


def find_pack(name_or_folder: str | Path = "auto") -> Path:
    """The folder of a pack by its name, or that folder.

    "auto" is MICA's, where both it and FLAME 2020 are installed, else the shipped one.

    Raises:
        UserError: there is no such pack.
    """
    name = str(name_or_folder)
    if name == "auto":
        mica = packs_folder() / MICA
        both = (mica / PACK_FILE).is_file() and FLAME_2020 in installed_heads()
        return mica if both else SHIPPED
    if NAME.fullmatch(name) and (packs_folder() / name / PACK_FILE).is_file():
        return packs_folder() / name
    if name == EXPRESSION:
        return SHIPPED / "anthro_expression"
    folder = Path(name_or_folder)
    if not (folder / PACK_FILE).exists():
        known = ", ".join(["auto", EXPRESSION, *installed_packs()])
        raise UserError(
            f"{folder / PACK_FILE}: expected a model pack, found no such file; give --model "
            f"{known} or a folder that holds a {PACK_FILE}"
        )
    return folder


def installed_packs() -> list[str]:
    """Names of the packs in the store."""
    return sorted(path.parent.name for path in packs_folder().glob(f"[!.]*/{PACK_FILE}"))


def load_pack(name_or_folder: str | Path = "auto") -> Pack:
    """Read a pack; see `find_pack` for its names.

    Raises:
        UserError: if pack.json cannot be read, has other keys or types, or lacks its networks.
    """
    folder = find_pack(name_or_folder)
    path = folder / PACK_FILE
    try:
        content = read_json(path, "JSON of a model pack", max_bytes=MAX_BYTES)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: expected a file of the format {FORMAT!r}")
        version = content.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            raise UserError(
                f"{path}: expected version 1 to {VERSION}, got {version!r}; update this package, "
                "or get the pack of this version"
            )
        added = [key for since, keys in ADDED_KEYS.items() if since > version for key in keys]
        content = {**content, "version": VERSION, **dict.fromkeys(added)}
        pack = from_json(_PackFile, content, str(path))
    except ContentError as error:
        raise UserError(str(error)) from error
    networks = {
        name: folder / held
        for name, held in (
            ("landmarks", pack.landmarks),
            ("identity", pack.identity),
            ("expression", pack.expression),
        )
        if held is not None
    }
    for network in networks.values():
        if not network.is_dir():
            raise UserError(f"{path}: its network folder {network} is missing; copy the pack whole")
    return Pack(
        name=pack.name,
        licence=pack.licence,
        head=pack.head,
        landmarks=networks.get("landmarks") or load_pack(SHIPPED).landmarks,
        identity=networks.get("identity"),
        expression=networks.get("expression"),
    )


def save_pack(pack: Pack, folder: Path) -> None:
    """Write pack.json into the folder that holds the networks' folders.

    A landmark network elsewhere must be the shipped one.
    """

    def inside(network: Path | None) -> str | None:
        return str(network.relative_to(folder)) if network and folder in network.parents else None

    content = _PackFile(
        FORMAT,
        VERSION,
        pack.name,
        pack.licence,
        pack.head,
        inside(pack.landmarks),
        inside(pack.identity),
        inside(pack.expression),
    )
    data = json.dumps(content._asdict(), indent=1) + "\n"
    write_bytes_atomic(folder / PACK_FILE, data.encode())
