"""A HeadModel on disk: model.safetensors and manifest.json in one folder.

A folder appears whole or not at all, and its arrays are checked against the manifest's checksum.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from flame_assets.errors import UserError
from flame_assets.files import sha256_of, write_folder
from flame_assets.inert.budgets import HEAD_BYTES
from flame_assets.inert.files import ReadError, open_regular, shown
from flame_assets.model.head import HeadModel, LidClosure, LidContact, array_fields
from flame_assets.model.manifest import MANIFEST, TENSORS, Manifest, read_manifest

_AGAIN = "convert or build the head again"


def save_head(head: HeadModel, folder: Path) -> Path:
    """Write `head` into `folder`, replacing an older head there but never anything else.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    if (
        folder.exists()
        and not (folder / MANIFEST).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise UserError(f"{folder} exists and holds no head; choose another folder or delete it")

    def fill(place: Path) -> None:
        from safetensors.numpy import save

        tensors = save(_tensors_of(head))
        manifest = Manifest(
            name=head.name,
            version=head.version,
            licence=head.licence,
            expression_convention=head.expression_convention,
            expression_names=head.expression_names,
            expression_bounds=head.expression_bounds,
            lid_contact_joints=tuple(contact.joint for contact in head.lid_contacts),
            sha256=hashlib.sha256(tensors).hexdigest(),
            bytes=len(tensors),
        )
        (place / TENSORS).write_bytes(tensors)
        (place / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")

    return write_folder(folder, fill)


def load_head_folder(folder: Path) -> HeadModel:
    """Read a folder written by `save_head`; its checksum and all shapes and values are verified.

    Raises:
        UserError: something is missing, damaged, of another format or of a wrong shape.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    manifest = read_manifest(folder)
    path = folder / TENSORS
    if not path.exists():
        raise UserError(f"{folder} is incomplete: expected {TENSORS} in it; {_AGAIN}")
    data = _read_tensors(path, manifest)
    try:
        return _assemble(manifest, load(data))
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder} holds no valid head: {error}; {_AGAIN}") from error


def is_intact(folder: Path, manifest: Manifest) -> bool:
    """Whether the arrays in `folder` are the ones that the manifest was written with."""
    path = folder / TENSORS
    try:
        with open_regular(path):
            return sha256_of(path) == manifest.sha256
    except (ReadError, OSError):
        return False


def _read_tensors(path: Path, manifest: Manifest) -> bytes:
    if not 0 <= manifest.bytes <= HEAD_BYTES:
        raise UserError(f"{path} is larger than {HEAD_BYTES >> 20} MiB, as no head is; {_AGAIN}")
    with open_regular(path) as file:
        data = file.read(manifest.bytes + 1)
    if hashlib.sha256(data).hexdigest() != manifest.sha256:
        raise UserError(f"{path} is damaged: its sha256 is not the manifest's; {_AGAIN}")
    return data


def _tensors_of(head: HeadModel) -> dict[str, np.ndarray]:
    tensors = {name: getattr(head, name) for name in array_fields(HeadModel)}
    tensors = {name: array for name, array in tensors.items() if array is not None}
    tensors |= {f"regions/{name}": ids for name, ids in head.regions.items()}
    for index, contact in enumerate(head.lid_contacts):
        tensors[f"lid_contacts/{index}/vertices"] = contact.vertices
        tensors[f"lid_contacts/{index}/radius"] = contact.radius
    for closure in head.lid_closures:
        tensors[f"lid_closures/{closure.expression}/vertices"] = closure.vertices
        tensors[f"lid_closures/{closure.expression}/basis"] = closure.basis
    return tensors


def _assemble(manifest: Manifest, tensors: dict[str, np.ndarray]) -> HeadModel:
    def part(name: str) -> np.ndarray:
        if name not in tensors:
            raise ValueError(f"{TENSORS} lacks {name}")
        return tensors[name]

    contacts = range(len(manifest.lid_contact_joints))
    expected = {f"lid_contacts/{i}/{part}" for i in contacts for part in ("vertices", "radius")}
    closing = sorted({name.split("/")[1] for name in tensors if name.startswith("lid_closures/")})
    expected |= {
        f"lid_closures/{name}/{part}" for name in closing for part in ("vertices", "basis")
    }
    unknown = tensors.keys() - expected - array_fields(HeadModel).keys()
    if unknown := sorted(name for name in unknown if not name.startswith("regions/")):
        raise ValueError(f"{TENSORS} holds {shown(unknown[0])}, which no head has")
    arrays: dict[str, Any] = {
        name: tensors.get(name) if field.optional else part(name)
        for name, field in array_fields(HeadModel).items()
    }
    return HeadModel(
        name=manifest.name,
        version=manifest.version,
        licence=manifest.licence,
        expression_convention=manifest.expression_convention,
        expression_names=manifest.expression_names,
        expression_bounds=manifest.expression_bounds,
        regions={
            name.removeprefix("regions/"): ids
            for name, ids in tensors.items()
            if name.startswith("regions/")
        },
        lid_contacts=tuple(
            LidContact(
                joint=joint,
                vertices=part(f"lid_contacts/{index}/vertices"),
                radius=part(f"lid_contacts/{index}/radius"),
            )
            for index, joint in enumerate(manifest.lid_contact_joints)
        ),
        lid_closures=tuple(
            LidClosure(
                expression=name,
                vertices=part(f"lid_closures/{name}/vertices"),
                basis=part(f"lid_closures/{name}/basis"),
            )
            for name in closing
        ),
        **arrays,
    )
