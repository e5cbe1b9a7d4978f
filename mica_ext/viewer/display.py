"""What the machine can show: a page in the browser, a window of Open3D.

Imports nothing heavy, so that a command can refuse before it computes anything.
"""

import importlib.util
import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from mica_ext.errors import UserError


def has_screen(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether windows can be opened: elsewhere a browser would run in the terminal, or fail."""
    if platform in ("win32", "darwin"):
        return True
    return any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def open_page(path: Path) -> bool:
    """Open a page in the browser; False, at once, where there is no screen or no browser."""
    if not has_screen():
        return False
    try:
        return webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


def check_window() -> None:
    """Refuse a window that cannot be opened, before anything is computed.

    Raises:
        UserError: Open3D is not installed, or there is no screen.
    """
    if importlib.util.find_spec("open3d") is None:
        raise UserError(
            "a window needs Open3D: pip install 'pacofr[view]' (or leave `window` out for a page)"
        )
    if not has_screen():
        raise UserError("a window needs a screen, here is none; leave `window` out for a page")
