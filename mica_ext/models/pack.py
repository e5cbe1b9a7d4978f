"""Model packs: which head and which networks belong together.

    PACK/pack.json      format, version, name, licence, head, landmarks (a folder beside it)
    PACK/<landmarks>/   config.json, model.safetensors

The pack that comes with the package is `mica_ext/weights`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import from_json, read_json

FORMAT, VERSION = "mica-ext pack", 1
PACK_FILE = "pack.json"
MAX_BYTES = 1 << 20
SHIPPED = Path(__file__).parents[1] / "weights"


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


class _PackFile(NamedTuple):
    """pack.json."""

    format: str
    version: int
    name: str
    licence: str
    head: str
    landmarks: str


def load_pack(name_or_folder: str | Path = "auto") -> Pack:
    """Read a pack; "auto" is the shipped one.

    Raises:
        UserError: if pack.json cannot be read, has other keys or types, or lacks its networks.
    """
    folder = SHIPPED if str(name_or_folder) == "auto" else Path(name_or_folder)
    path = folder / PACK_FILE
    if not path.exists():
        raise UserError(
            f"{path}: expected a model pack, found no such file; "
            "give --model auto or a folder that holds a pack.json"
        )
    try:
        content = read_json(path, "JSON of a model pack", max_bytes=MAX_BYTES)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"{path}: expected a file of the format {FORMAT!r}")
        if content.get("version") != VERSION:
            raise UserError(f"{path}: expected version {VERSION}, got {content.get('version')!r}")
        pack = from_json(_PackFile, content, str(path))
    except ContentError as error:
        raise UserError(str(error)) from error
    landmarks = folder / pack.landmarks
    if not landmarks.is_dir():
        raise UserError(f"{path}: its network folder {landmarks} is missing; copy the pack whole")
    return Pack(name=pack.name, licence=pack.licence, head=pack.head, landmarks=landmarks)


def save_pack(pack: Pack, folder: Path) -> None:
    """Write pack.json into the folder that holds the networks' folders."""
    content = {"format": FORMAT, "version": VERSION, **asdict(pack)}
    content["landmarks"] = str(pack.landmarks.relative_to(folder))
    write_bytes_atomic(folder / PACK_FILE, (json.dumps(content, indent=1) + "\n").encode())
