"""The one way this package writes a file."""

from pathlib import Path

from mica_ext.errors import UserError
from pacofr.utils.files import write_atomic


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that the file is complete or, after any error, as before.

    Raises:
        UserError: if it cannot be written; its folder must exist.
    """
    try:
        write_atomic(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
