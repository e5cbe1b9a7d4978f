"""Files and folders that appear whole or not at all, and their checksums."""

import contextlib
import glob
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flame_assets.errors import UserError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Let `fill` write into a new folder beside `target`, then put that in `target`'s place.

    Safe against crashes and against other processes doing the same; the last one stays. File modes
    follow the umask, so that a shared store is readable.

    Raises:
        UserError: the folder cannot be written, whatever `fill` was doing.
    """
    temporary = target.with_name(f".{target.name}.new-{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        temporary.mkdir()
        fill(temporary)
        _put_in_place(temporary, target)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write {target}: {reason}; make room there or choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _remove_leftovers(target: Path) -> None:
    """Delete what killed processes left of `target`, once it is a day old."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*-*"):
        with contextlib.suppress(OSError):
            if left.is_dir() and time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)


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
