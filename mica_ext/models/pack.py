"""Model packs: which head and which networks belong together.

    PACK/pack.json      format, version, name, licence, head, landmarks (a folder beside it)
    PACK/<landmarks>/   config.json, model.safetensors

The pack that comes with the package is `mica_ext/weights`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic

FORMAT, VERSION = "mica-ext pack", 1
PACK_FILE = "pack.json"
SHIPPED = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A pack as its pack.json names it; networks are folders, resolved and existing."""

    name: str
    licence: str  # of the pack as a whole, one line
    head: str  # for `flame_assets.store.load_head`
    landmarks: Path  # folder of the landmark network


def load_pack(name_or_folder: str | Path = "auto") -> Pack:
    """Read a pack strictly: no key is missing, none unknown; "auto" is the shipped one."""
    folder = SHIPPED if str(name_or_folder) == "auto" else Path(name_or_folder)
    path = folder / PACK_FILE
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(
            f"{path}: expected a model pack, cannot read it ({error.strerror}); "
            "give --model auto or a folder that holds a pack.json"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: expected JSON of a model pack ({error})") from error
    wanted = {"format", "version", *Pack.__dataclass_fields__}
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: expected a file of the format {FORMAT!r}")
    if content.get("version") != VERSION:
        raise UserError(f"{path}: expected version {VERSION}, found {content.get('version')!r}")
    if set(content) != wanted or not all(
        isinstance(content[key], str) for key in Pack.__dataclass_fields__
    ):
        odd = ", ".join(sorted(set(content) ^ wanted)) or "one that is no text"
        raise UserError(f"{path}: expected the keys {', '.join(sorted(wanted))}; odd: {odd}")
    landmarks = folder / content["landmarks"]
    if not landmarks.is_dir():
        raise UserError(f"{path}: its network folder {landmarks} is missing; copy the pack whole")
    return Pack(
        name=content["name"],
        licence=content["licence"],
        head=content["head"],
        landmarks=landmarks,
    )


def save_pack(pack: Pack, folder: Path) -> None:
    """Write pack.json into the folder that holds the networks' folders."""
    content = {"format": FORMAT, "version": VERSION, **asdict(pack)}
    content["landmarks"] = str(pack.landmarks.relative_to(folder))
    write_bytes_atomic(folder / PACK_FILE, (json.dumps(content, indent=1) + "\n").encode())
