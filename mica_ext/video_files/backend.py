"""PyAV, imported when a video is first opened."""

import importlib
from typing import Any

from mica_ext.errors import UserError


def load_av() -> Any:
    """The module `av`.

    Raises:
        UserError: it is not installed, or does not load.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise UserError(
            f'videos need PyAV, which cannot be imported ({error}): pip install ".[video]" (or av)'
        ) from error
