"""A HeadModel on disk: `model.safetensors` and `manifest.json` in one folder.

manifest.json (version 1)::

    {"format": "flame-assets-head", "format_version": 1,
     "name": ..., "version": ..., "licence": ...,
     "expression_convention": "arkit" | "flame" | "pca", "expression_names": [...],
     "expression_bounds": [low, high] or null, "lid_contact_joints": [3, 4],
     "unit": "m", "tensors": {"file": "model.safetensors", "sha256": ..., "bytes": ...}}

Folders of before `expression_convention` was written load, too: it follows from the names then.
A folder appears whole or not at all: it is written beside its place and moved there.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flame_assets.arkit import EXPRESSIONS
from flame_assets.errors import UserError
from flame_assets.model.head import ExpressionConvention, HeadModel, LidContact, array_fields

FORMAT = "flame-assets-head"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TENSORS = "model.safetensors"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Let `fill` write into a new folder beside `target`, then put that in `target`'s place.

    Safe against crashes and against other processes doing the same; the last one stays. A full
    disk or a forbidden place is a `UserError`, whatever `fill` was doing. `fill` must write with
    Python's own files: their mode follows the umask, so that a shared store is readable.
    """
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        fill(temporary)
        temporary.chmod(0o755)
        _put_in_place(temporary, target)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write {target}: {reason}; make room there or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _put_in_place(folder: Path, target: Path) -> None:
    for _ in range(20):  # other processes may put theirs there in between
        with contextlib.suppress(OSError):
            os.rename(folder, target)
            return
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rename(target, old / "folder")
        finally:
            shutil.rmtree(old, ignore_errors=True)
    raise UserError(f"cannot replace {target}: it is in use; delete it and run again")


def save_head(head: HeadModel, folder: Path) -> Path:
    """Write `head` into `folder`, replacing an older head but never anything else."""
    if (
        folder.exists()
        and not (folder / MANIFEST).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise UserError(f"{folder} exists and holds no head; choose another folder or delete it")

    def fill(place: Path) -> None:
        from safetensors.numpy import save

        tensors = save(_tensors_of(head))
        (place / TENSORS).write_bytes(tensors)
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": head.name,
            "version": head.version,
            "licence": head.licence,
            "unit": "m",
            "expression_convention": head.expression_convention,
            "expression_names": list(head.expression_names),
            "expression_bounds": head.expression_bounds,
            "lid_contact_joints": [contact.joint for contact in head.lid_contacts],
            "tensors": {
                "file": TENSORS,
                "sha256": hashlib.sha256(tensors).hexdigest(),
                "bytes": len(tensors),
            },
        }
        (place / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    return write_folder(folder, fill)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a head folder; its format and version are checked, its tensors are not."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} holds no head (no {MANIFEST}); see `flame-assets status`")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; convert or build the head again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} describes no head: expected format {FORMAT!r}")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path}: expected format_version {FORMAT_VERSION}, got "
            f"{manifest.get('format_version')!r}; update flame_assets or convert the head again"
        )
    return manifest


def load_head_folder(folder: Path) -> HeadModel:
    """Read a head folder; anything missing, damaged or of a wrong shape is a `UserError`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    manifest = read_manifest(folder)
    path = folder / TENSORS
    again = "convert or build the head again"
    if not path.is_file():
        raise UserError(f"{folder} is incomplete: expected {TENSORS} in it; {again}")
    try:
        if sha256_of(path) != manifest["tensors"]["sha256"]:
            raise UserError(f"{path} is damaged: its sha256 is not the manifest's; {again}")
        return _assemble(manifest, load_file(path))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} holds no valid head: {error}; {again}") from error


def _tensors_of(head: HeadModel) -> dict[str, np.ndarray]:
    tensors = {name: getattr(head, name) for name in array_fields(HeadModel)}
    tensors = {name: array for name, array in tensors.items() if array is not None}
    tensors |= {f"regions/{name}": ids for name, ids in head.regions.items()}
    for index, contact in enumerate(head.lid_contacts):
        tensors[f"lid_contacts/{index}/vertices"] = contact.vertices
        tensors[f"lid_contacts/{index}/radius"] = contact.radius
    return tensors


def _assemble(manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> HeadModel:
    contacts = tuple(
        LidContact(
            joint=joint,
            vertices=tensors[f"lid_contacts/{index}/vertices"],
            radius=tensors[f"lid_contacts/{index}/radius"],
        )
        for index, joint in enumerate(manifest["lid_contact_joints"])
    )
    bounds = manifest["expression_bounds"]
    names = tuple(manifest["expression_names"])
    arrays: dict[str, Any] = {name: tensors.get(name) for name in array_fields(HeadModel)}
    return HeadModel(
        name=manifest["name"],
        version=manifest["version"],
        licence=manifest["licence"],
        expression_convention=manifest.get("expression_convention", _convention_of(names)),
        expression_names=names,
        expression_bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
        regions={
            name.removeprefix("regions/"): ids
            for name, ids in tensors.items()
            if name.startswith("regions/")
        },
        lid_contacts=contacts,
        **arrays,
    )


def _convention_of(names: tuple[str, ...]) -> ExpressionConvention:
    """The convention of a head written before its manifest told it."""
    if names == EXPRESSIONS:
        return "arkit"
    return "flame" if names[:1] == ("expression_000",) else "pca"
