"""Several files written as one: staged in hidden folders, then moved together, or none of them."""

import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mica_ext.errors import UserError


@contextmanager
def staged_files(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Where to write each of `paths` meanwhile; at the end of the block they replace `paths`.

    Staged files lie on the same file systems, so a full disk shows before anything is replaced. The
    first path is replaced last: where that file is complete, all are. After an error all paths are
    as before.

    Raises:
        UserError: of the block, naming `paths` instead of the staged files, or for a file that
            cannot be replaced.
    """
    with ExitStack() as stack:
        folders: dict[Path, Path] = {}
        for folder in dict.fromkeys(path.parent for path in paths):
            hidden = TemporaryDirectory(
                prefix=f"{_prefix()}{os.getpid()}-", dir=folder, ignore_cleanup_errors=True
            )
            folders[folder] = Path(stack.enter_context(hidden))
        staged = {path: folders[path.parent] / path.name for path in paths}
        try:
            yield staged
        except UserError as error:
            line = str(error)
            for path, temporary in staged.items():
                line = line.replace(str(temporary), str(path))
            raise UserError(line) from error
        _replace_all(staged)


def remove_abandoned(folder: Path) -> None:
    """Remove the staged files that a killed process of this machine left in `folder`."""
    if os.name != "posix" or not folder.is_dir():
        return
    for hidden in folder.glob(f"{_prefix()}[0-9]*-*"):
        process = int(hidden.name.removeprefix(_prefix()).split("-")[0])
        if not _is_running(process):
            shutil.rmtree(hidden, ignore_errors=True)


def _prefix() -> str:
    """Names the machine: processes of another one may share the folder."""
    return f".draft-{re.sub(r'[^A-Za-z0-9]', '', socket.gethostname())}-"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _replace_all(staged: dict[Path, Path]) -> None:
    """Replace each path by its staged file, the last first; undo all of it on any error."""
    replaced: list[Path] = []
    backups: dict[Path, Path] = {}
    try:
        for path, temporary in reversed(staged.items()):
            try:
                if path.exists():
                    backup = temporary.with_name(f"{temporary.name}.old")
                    shutil.copy2(path, backup)
                    backups[path] = backup
                replaced.append(path)
                os.replace(temporary, path)
            except OSError as error:  # which names the staged file
                reason = error.strerror or error
                raise UserError(f"{path}: cannot be written ({reason})") from error
    except BaseException:
        for path in replaced:
            if path in backups:
                os.replace(backups[path], path)
            elif not staged[path].exists():  # else it was not moved, and what is there is not ours
                path.unlink(missing_ok=True)
        raise
