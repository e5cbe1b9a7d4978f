"""manifest.json of a head folder: everything about a head but its arrays, read strictly.

Version 1::

    {"format": "flame-assets-head", "format_version": 1,
     "name": ..., "version": ..., "licence": ...,
     "expression_convention": "arkit" | "flame" | "pca", "expression_names": [...],
     "expression_bounds": [low, high] or null, "lid_contact_joints": [3, 4],
     "unit": "m", "tensors": {"file": "model.safetensors", "sha256": ..., "bytes": ...}}

Folders written before there was `expression_convention` load too: their names tell it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, get_args

from flame_assets.arkit import EXPRESSIONS
from flame_assets.errors import UserError
from flame_assets.inert.budgets import MANIFEST_BYTES
from flame_assets.inert.files import read_regular, shown
from flame_assets.model.head import ExpressionConvention

FORMAT, FORMAT_VERSION = "flame-assets-head", 1
MANIFEST, TENSORS = "manifest.json", "model.safetensors"


class Manifest(NamedTuple):
    """What a manifest says."""

    name: str
    version: str
    licence: str
    expression_convention: ExpressionConvention
    expression_names: tuple[str, ...]
    expression_bounds: tuple[float, float] | None
    lid_contact_joints: tuple[int, ...]
    sha256: str
    """Of model.safetensors, as hex."""
    bytes: int
    """Size of model.safetensors."""

    def to_json(self) -> str:
        """The text of the file."""
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "version": self.version,
            "licence": self.licence,
            "unit": "m",
            "expression_convention": self.expression_convention,
            "expression_names": self.expression_names,
            "expression_bounds": self.expression_bounds,
            "lid_contact_joints": self.lid_contact_joints,
            "tensors": {"file": TENSORS, "sha256": self.sha256, "bytes": self.bytes},
        }
        return json.dumps(content, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a head folder; the arrays are not looked at.

    Raises:
        UserError: there is none, it cannot be read, or it describes no head of this format.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise UserError(f"{folder} holds no head (no {MANIFEST}); see `flame-assets status`")
    content = _json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} describes no head: expected format {FORMAT!r}")
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise UserError(
            f"{path}: expected format_version {FORMAT_VERSION}, got {shown(version)}; "
            "update flame_assets or convert the head again"
        )
    fields = _Fields(path, content)
    names = tuple(fields.list_of(str, "expression_names"))
    tensors = _Fields(path, fields.value(dict, "tensors"))
    return Manifest(
        name=fields.value(str, "name"),
        version=fields.value(str, "version"),
        licence=fields.value(str, "licence"),
        expression_convention=_convention(fields, names),
        expression_names=names,
        expression_bounds=_bounds(fields),
        lid_contact_joints=tuple(fields.list_of(int, "lid_contact_joints")),
        sha256=tensors.value(str, "sha256"),
        bytes=tensors.value(int, "bytes"),
    )


class _Fields:
    """Values of a JSON object by key and type; a UserError names what does not fit."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content

    def value(self, kind: type, key: str) -> Any:
        """The value under `key`, which must be of exactly this type; text must be one line."""
        found = self.content.get(key)
        if type(found) is not kind:
            raise self.error(key, kind.__name__, found)
        if isinstance(found, str) and not found.isprintable():
            raise self.error(key, "one line of text", found)
        return found

    def list_of(self, kind: type, key: str) -> list[Any]:
        """The list under `key`, of items of exactly this type."""
        found = self.content.get(key)
        if type(found) is not list or any(type(item) is not kind for item in found):
            raise self.error(key, f"a list of {kind.__name__}", found)
        return found

    def error(self, key: str, expected: str, found: Any) -> UserError:
        """What is wrong under `key`."""
        came = "nothing" if key not in self.content else type(found).__name__
        return UserError(
            f"{self.path}: expected {key} to be {expected}, got {came}; "
            "convert or build the head again"
        )


def _json(path: Path) -> Any:
    data = read_regular(path, MANIFEST_BYTES)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"cannot read {path}: {shown(str(error))}; convert or build the head again"
        ) from error


def _bounds(fields: _Fields) -> tuple[float, float] | None:
    found = fields.content.get("expression_bounds")
    if found is None:
        return None
    expected = "null or two numbers"
    if type(found) is not list or len(found) != 2:
        raise fields.error("expression_bounds", expected, found)
    try:
        if any(type(item) not in (int, float) for item in found):
            raise fields.error("expression_bounds", expected, found)
        return float(found[0]), float(found[1])
    except OverflowError:
        raise fields.error("expression_bounds", expected, found) from None


def _convention(fields: _Fields, names: tuple[str, ...]) -> ExpressionConvention:
    """The stated convention; of a head written before it was stated, the one its names tell."""
    if "expression_convention" in fields.content:
        stated = fields.value(str, "expression_convention")
        for known in get_args(ExpressionConvention):
            if stated == known:
                return known
        raise UserError(
            f"{fields.path}: expected expression_convention to be one of "
            f"{', '.join(get_args(ExpressionConvention))}, got {shown(stated)}; "
            "update flame_assets or convert the head again"
        )
    if names == EXPRESSIONS:
        return "arkit"
    return "flame" if names[:1] == ("expression_000",) else "pca"
