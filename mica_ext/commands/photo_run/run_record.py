"""What made the files of a folder: a hidden file beside them, compared before they are reused.

`.reconstruct.jsonl` holds one JSON object a line and is only ever appended to:

    {"settings": {...}, "id": ID}                                   of the lines that follow
    {"started": [NAME, ...]}                                        the files are being replaced
    {"made": [NAME, ...], "photo": {...}, "by": ID}                 the files are complete

Names are file names in the folder, and photo names those in the folder that was asked for: no path
of the machine is kept. The last line about a file counts. A torn line, as a killed process leaves
it, counts as not written.
"""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from mica_ext.errors import UserError
from pacofr.errors import UserError as ContentError
from pacofr.utils.bounded import open_regular
from pacofr.utils.config_json import from_json

RECORD_FILE = ".reconstruct.jsonl"
MAX_RECORD_BYTES = 1 << 30
MAX_LINE_BYTES = 1 << 16


Settings = dict[str, str]
"""Everything that decides what the files of a photo hold, as text that people can compare."""


class PhotoIdentity(NamedTuple):
    """Identifies the content of a photo, without reading it again where its time is the same."""

    name: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path, name: str) -> "PhotoIdentity":
        """Identity of the photo at `path`; OSError if it cannot be read."""
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(name, status.st_size, status.st_mtime_ns, digest)

    def matches(self, path: Path, name: str) -> bool:
        """Whether `path`, called `name`, still holds this photo."""
        status = path.stat()
        if (name, status.st_size) != (self.name, self.size):
            return False
        if status.st_mtime_ns == self.mtime_ns:
            return True
        return PhotoIdentity.of(path, name).sha256 == self.sha256


class Entry(NamedTuple):
    """What is known of one file."""

    photo: PhotoIdentity | None
    """None while the file is being replaced."""
    settings: Settings | None
    files: tuple[str, ...]
    """All names in the folder that were written together."""


class _SettingsLine(NamedTuple):
    settings: Settings
    id: str


class _StartedLine(NamedTuple):
    started: tuple[str, ...]


class _MadeLine(NamedTuple):
    made: tuple[str, ...]
    photo: PhotoIdentity
    by: str


class FolderRecord:
    """The record of one folder of results."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORD_FILE
        self._entries: dict[str, Entry] = {}
        self._settings: dict[str, Settings] = {}
        self._written: set[str] = set()  # ids of settings that this process has appended
        self._appended = False
        self._read()

    @property
    def exists(self) -> bool:
        """Whether anything was recorded in this folder."""
        return self.path.is_file()

    def entry(self, name: str) -> Entry | None:
        """What is known of the file `name`; None if nothing is."""
        return self._entries.get(name)

    def start(self, names: tuple[str, ...]) -> None:
        """Note that the files are about to be replaced: whoever finds them must make them again."""
        self._append({"started": names})
        self._entries |= dict.fromkeys(names, Entry(None, None, names))

    def finish(self, names: tuple[str, ...], photo: PhotoIdentity, settings: Settings) -> None:
        """Note that the files are complete."""
        key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
        if key not in self._written:
            self._append({"settings": settings, "id": key})
            self._written.add(key)
        self._append({"made": names, "photo": photo._asdict(), "by": key})
        self._entries |= dict.fromkeys(names, Entry(photo, settings, names))

    def _append(self, content: dict[str, Any]) -> None:
        line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        if not self._appended:
            line = b"\n" + line  # after a torn line
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                if os.write(descriptor, line) < len(line):  # one call: processes do not mix lines
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.path}: cannot be written ({reason})") from error
        self._appended = True

    def _read(self) -> None:
        try:
            stream = open_regular(self.path, MAX_RECORD_BYTES)
        except FileNotFoundError:
            return
        with stream:
            while line := stream.readline(MAX_LINE_BYTES):
                try:
                    self._take(json.loads(line))
                except (ValueError, RecursionError, KeyError, TypeError, ContentError):
                    continue  # torn or foreign

    def _take(self, content: Any) -> None:
        if "settings" in content:
            line = from_json(_SettingsLine, content, "settings")
            self._settings[line.id] = line.settings
        elif "started" in content:
            names = from_json(_StartedLine, content, "started").started
            self._entries |= dict.fromkeys(names, Entry(None, None, names))
        else:
            made = from_json(_MadeLine, content, "made")
            entry = Entry(made.photo, self._settings[made.by], made.made)
            self._entries |= dict.fromkeys(made.made, entry)
