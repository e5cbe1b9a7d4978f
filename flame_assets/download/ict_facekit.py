"""Fetch ICT-FaceKit from its repository: of each OBJ file the vertices only, the neutral one whole.

The address names a commit. No hashes are published: a file must hold as many vertices as it should.
What has come stays; the next call goes on with the files that are missing.
"""

import logging
import os
import urllib.request
from pathlib import Path

from flame_assets.download.transfer import (
    CHUNK,
    GO_ON,
    CutError,
    Limits,
    Pace,
    StatusError,
    locked,
    open_url,
    progress_bar,
    read_chunk,
    too_slow,
)
from flame_assets.errors import UserError
from flame_assets.formats.ict import NEUTRAL, OBJ_BYTES, VERTICES, model_files, parse_vertices
from flame_assets.inert.files import ReadError

LOGGER = logging.getLogger(__name__)
URL = (
    "https://raw.githubusercontent.com/ICT-VGL/ICT-FaceKit/"
    "da5f95a607f5e6b37755b38d3385d7f2853732e5/FaceXModel"
)
END_OF_VERTICES = b"\nvt "


def fetch_ict(
    folder: Path, *, url: str = URL, vertices: int = VERTICES, limits: Limits | None = None
) -> Path:
    """Fetch the files of the model that `folder` lacks.

    Raises:
        UserError: the server cannot be reached, refuses, is too slow or sends something else; the
            folder cannot be written; another process holds the lock for too long.
    """
    limits = limits or Limits()
    names = model_files()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "FaceXModel", limits.lock_s), progress_bar("ICT-FaceKit") as advance:
            for number, name in enumerate(names):
                path = folder / f"{name}.obj"
                if not path.is_file():
                    _fetch_file(f"{url}/{path.name}", path, vertices, limits, name == NEUTRAL)
                advance(number + 1, len(names))
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}; mend that and {GO_ON}"
        ) from error
    return folder


def _fetch_file(url: str, path: Path, vertices: int, limits: Limits, whole: bool) -> None:
    for attempt in range(limits.attempts):
        try:
            data = _receive(url, limits, whole)
            break
        except CutError:
            LOGGER.info("%s was cut, connection %d", path.name, attempt + 1)
        except StatusError as error:
            raise UserError(f"{url} answered {error}; try again later") from None
    else:
        raise UserError(f"{path.name} was cut {limits.attempts} times; {GO_ON}")
    try:
        found = len(parse_vertices(data))
    except ReadError as error:
        raise UserError(f"{url} {error.reason}, expected a mesh; try again later") from None
    if found != vertices:
        raise UserError(
            f"{url} holds {found} vertices, expected {vertices}: it is another mesh, update the "
            "package"
        )
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def _receive(url: str, limits: Limits, whole: bool) -> bytes:
    """The bytes of a file, or those up to the end of its vertices."""
    pace, data = Pace(limits), bytearray()
    with open_url(urllib.request.Request(url), pace) as answer:
        length = answer.headers.get("Content-Length")
        while chunk := read_chunk(answer, CHUNK):
            searched = max(len(data) - len(END_OF_VERTICES), 0)
            data += chunk
            pace.received += len(chunk)
            if pace.is_late:
                raise too_slow(len(data))
            if len(data) > OBJ_BYTES:
                raise UserError(f"{url} sends more than {OBJ_BYTES >> 20} MiB, as no mesh has")
            end = data.find(END_OF_VERTICES, searched)
            if not whole and end >= 0:
                return bytes(data[: end + 1])
    if whole and length is not None and length.isdigit() and len(data) < int(length):
        raise CutError
    if not whole:
        raise CutError  # the vertices have not ended
    return bytes(data)
