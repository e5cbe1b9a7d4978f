"""Several files as one: drafted aside, then put in their places together, or none of them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mica_ext.errors import UserError


@contextmanager
def drafted(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Where to write each of `paths` meanwhile; they take their places at the end of the block.

    Drafts lie in hidden folders on the same disks, so a full one shows before anything is replaced.
    The first path is put last: where that file is, all are. If anything fails, all is as before.

    Raises:
        UserError: of the block, naming files and not drafts, or for a file that cannot be put.
    """
    with ExitStack() as stack:
        aside: dict[Path, Path] = {}
        for folder in dict.fromkeys(path.parent for path in paths):
            place = TemporaryDirectory(prefix=".draft-", dir=folder, ignore_cleanup_errors=True)
            aside[folder] = Path(stack.enter_context(place))
        drafts = {path: aside[path.parent] / path.name for path in paths}
        try:
            yield drafts
        except UserError as error:
            line = str(error)
            for path, draft in drafts.items():
                line = line.replace(str(draft), str(path))
            raise UserError(line) from error
        _put(drafts)


def _put(drafts: dict[Path, Path]) -> None:
    """Move the drafts, the last first; on any error take back what was moved."""
    put: list[Path] = []
    kept: dict[Path, Path] = {}
    try:
        for path, draft in reversed(drafts.items()):
            try:
                if path.exists():
                    old = draft.with_name(f"{draft.name}.old")
                    shutil.copy2(path, old)
                    kept[path] = old
                put.append(path)
                os.replace(draft, path)
            except OSError as error:  # which names the draft
                reason = error.strerror or error
                raise UserError(f"{path}: cannot be written ({reason})") from error
    except BaseException:
        for path in put:
            if path in kept:
                os.replace(kept[path], path)
            elif not drafts[path].exists():  # else what is there, if anything, is not ours
                path.unlink(missing_ok=True)
        raise
