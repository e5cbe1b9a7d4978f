"""Where data lies: a path, a URL that fsspec opens, or a pipe; imports nothing heavy."""

import dataclasses
import itertools
import re
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import unquote, urlsplit, urlunsplit

import tyro

from pacofr.errors import UserError

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://")
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
PIPE = "pipe:"
MOST_EXPANDED = 1_000_000
"""Files that the ranges of one URL may stand for."""


@dataclasses.dataclass(frozen=True)
class Url:
    """A file or folder of a file system that fsspec knows, or `pipe:COMMAND`.

    As text it has neither a user's name and password nor a query, which may be a signature.
    """

    text: str
    """All of it."""
    size: int | None = None
    """Bytes, where the store tells."""

    def __str__(self) -> str:
        if self.is_pipe:
            return self.text
        parts = urlsplit(self.text)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def is_pipe(self) -> bool:
        """Whether it is the output of a command."""
        return self.text.startswith(PIPE)

    @property
    def is_web(self) -> bool:
        """Whether a web server has it."""
        return self.text.lower().startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """Last part of the path; a pipe's is its command."""
        return self.text if self.is_pipe else str(self).rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """Of the name; pipes are tars."""
        return ".tar" if self.is_pipe else PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "Url":
        """The folder that it lies in."""
        return Url(str(self).rstrip("/").rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "Url":
        """The file beside it whose name ends otherwise."""
        parts = urlsplit(self.text)
        path = parts.path[: len(parts.path) - len(self.suffix)] + suffix
        return Url(urlunsplit(parts._replace(path=path)))

    def child(self, name: str) -> "Url":
        """A file in this folder."""
        parts = urlsplit(self.text)
        return Url(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))


Location = Path | Url


def parse_location(text: str) -> Location:
    """A path, or a URL where `text` begins as one; file: URLs are paths.

    Raises:
        UserError: a chain of file systems (`::`), or a pipe without a command.
    """
    if text.startswith(PIPE):
        if not text.removeprefix(PIPE).strip():
            raise UserError(f"{text!r}: expected pipe:COMMAND, whose output is a tar")
        return Url(text)
    if (
        "::" in re.sub(r"//\[[^]]*\]", "//host", text) and "://" in text
    ):  # an IPv6 host has them, too
        raise UserError(f"{text!r}: expected a single URL, got a chain of file systems (::)")
    protocol = _PROTOCOL.match(text)
    if protocol is None:
        return Path(text)
    if protocol[1].lower() in ("file", "local"):
        return Path(unquote(text[protocol.end() :].removeprefix("localhost")))
    try:
        urlsplit(text)
    except ValueError as error:
        raise UserError(f"{text!r}: expected a URL ({error})") from error
    return Url(text)


def expand_ranges(url: Url) -> list[Url]:
    """Every file that {000..231} in a URL or a pipe stands for; numbers keep their width.

    Raises:
        UserError: a range runs backwards, or they stand for too many files.
    """
    pieces = _RANGE.split(url.text)
    choices, count = [], 1
    for first, last in zip(pieces[1::3], pieces[2::3], strict=True):
        numbers = range(int(first), int(last) + 1)
        count *= len(numbers)
        if not 0 < count <= MOST_EXPANDED:
            raise UserError(
                f"{url}: expected ranges like {{000..231}} of at most {MOST_EXPANDED} files,"
                f" got {{{first}..{last}}}"
            )
        choices.append([f"{number:0{len(first)}d}" for number in numbers])
    texts = pieces[0::3]
    return [
        Url("".join(itertools.chain(*zip(texts, chosen, strict=False), texts[len(chosen) :])))
        for chosen in itertools.product(*choices)
    ]


LocationArgument = Annotated[
    Location,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL",
        instance_from_str=lambda texts: parse_location(texts[0]),
        is_instance=lambda value: isinstance(value, (Path, Url)),
        str_from_instance=lambda value: [value.text if isinstance(value, Url) else str(value)],
    ),
]
"""A location as a flag."""
