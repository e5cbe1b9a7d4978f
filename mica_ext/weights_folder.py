"""Folders with a network's weights: config.json and model.safetensors, bounded and checked."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from mica_ext.errors import UserError
from pacofr.errors import UserError as ContentError
from pacofr.utils.bounded import read_bounded
from pacofr.utils.config_json import from_json, read_json

CONFIG, TENSORS = "config.json", "model.safetensors"
MAX_CONFIG_BYTES = 1 << 20

About = TypeVar("About")


class WeightsKind(NamedTuple):
    """What folders of one kind of weights have in common."""

    format: str
    version: int
    """Both stand in config.json."""
    what: str
    """The weights in words, such as "landmark weights"."""
    again: str
    """What to do where a folder cannot be used."""
    max_bytes: int
    """Of model.safetensors."""
    upgrades: Mapping[int, Callable[[dict], dict]] = MappingProxyType({})
    """By earlier version that is still read: its config.json's content as one of this version."""

    def read_config(self, contents: type[About], folder: Path) -> About:
        """The config.json of a folder as `contents`, a NamedTuple or dataclass.

        Raises:
            UserError: unreadable, another format or version, or values that do not fit.
        """
        path = folder / CONFIG
        try:
            content = read_json(path, f"the config of {self.what}", max_bytes=MAX_CONFIG_BYTES)
            if isinstance(content, dict):
                content = self._of_this_version(content, path)
            return from_json(contents, content, f"{path}: not the config of {self.what}")
        except ContentError as error:
            raise UserError(str(error)) from error

    def _of_this_version(self, content: dict, path: Path) -> dict:
        found = (content.get("format"), content.get("version"))
        if found == (self.format, self.version):
            return content
        if found[0] == self.format and type(found[1]) is int and found[1] in self.upgrades:
            return self.upgrades[found[1]](content) | {"version": self.version}
        raise UserError(
            f"{path}: expected {self.format} version {self.version}, found {found[0]} "
            f"version {found[1]}: {self.again}"
        )

    def read_tensors(self, folder: Path, sha256: str) -> dict[str, Tensor]:
        """The tensors of a folder whose model.safetensors has this hash, as they are stored.

        Raises:
            UserError: unreadable, damaged (another hash), no safetensors, NaN or infinity.
        """
        path = folder / TENSORS
        try:
            packed = read_bounded(path, self.max_bytes)
        except (OSError, ContentError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path}: cannot be read ({reason}): {self.again}") from error
        digest = hashlib.sha256(packed).hexdigest()
        if digest != sha256:
            raise UserError(
                f"{path}: expected sha256 {sha256[:12]}... of its config.json, found "
                f"{digest[:12]}...: the file is damaged or not its own: {self.again}"
            )
        try:
            tensors = load(packed)
        except SafetensorError as error:
            raise not_of_network(path, error) from error
        for key, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise UserError(f"{path}: {key} holds NaN or infinity; {self.again}")
        return tensors


def not_of_network(path: Path, error: Exception) -> UserError:
    """The error of tensors that `load_state_dict` refuses."""
    last = str(error).splitlines()[-1].strip()
    return UserError(f"{path}: expected weights of this network ({last})")
