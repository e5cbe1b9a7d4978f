"""MICA extended by an expression branch: one photo in, an expressive metrical 3D face out.

`from mica_ext import Reconstructor` loads torch only when the name is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mica_ext.reconstruct import Reconstruction, Reconstructor

__all__ = ["Reconstruction", "Reconstructor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("mica_ext.reconstruct"), name)
