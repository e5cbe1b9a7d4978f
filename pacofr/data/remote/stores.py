"""Files of object stores and web servers: what is there, how large, and pieces of them.

fsspec and its file systems raise errors of many kinds; here they become one line.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from pacofr.data.remote.location import Url
from pacofr.errors import UserError

Result = TypeVar("Result")
INSTALL = 'pip install "pacofr[remote]"'
LISTING_SECONDS = 600.0
"""For all files below a folder."""
LISTING_DEPTH = 32
"""Folders within each other on a web server, whose pages may link to ever further ones."""
ATTEMPTS = 4
"""Before a store that does not answer is given up."""
PAUSE_SECONDS = 1.0
"""Before the second attempt; doubled before each further one."""
REQUESTS = 16
"""At the same time, when files are looked up."""
MISSING = (404, 410)
TRANSIENT = (408, 425, 429)
"""HTTP statuses below 500 that a second try may mend."""


class MissingFileError(UserError):
    """Nothing lies there."""


class UnreadableFileError(UserError):
    """It cannot be read now; trying again may help."""


def open_store(url: Url) -> tuple[Any, str]:
    """The file system of a URL and the path in it; forked processes get their own."""
    import fsspec

    options = {}
    if url.is_web:
        from pacofr.data.remote.web import client_options

        options["client_kwargs"] = client_options()
    return fsspec.url_to_fs(url.text, **options)


@contextmanager
def store_errors(url: Url) -> Iterator[None]:
    """Turn what fsspec raises into one line.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: reading failed in a way that may pass.
        UserError: it may not be read, or a package is missing.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says so of servers that do not answer, too
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, ValueError) and _status(cause) is None:
            raise _unopened(url, cause) from error
        if type(cause).__module__.startswith("aiohttp") and _status(cause) not in MISSING:
            raise _unreadable(url, cause) from error
        raise MissingFileError(f"{url} is not there: expected a file or folder") from error
    except PermissionError as error:
        raise UserError(f"{url} may not be read ({error}); check your rights to it") from error
    except ImportError as error:
        raise UserError(
            f"{url} needs a package that is not installed ({error}); run: {INSTALL}, or install"
            " the one that is named"
        ) from error
    except ValueError as error:
        raise _unopened(url, error) from error
    except Exception as error:  # of fsspec, aiohttp, botocore and others
        raise _unreadable(url, error) from error


def pause(failures: int, error: UserError) -> None:
    """Wait before the next attempt, or raise the error of the last."""
    if failures >= ATTEMPTS:
        raise error
    time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))


def _patiently(action: Callable[[], Result]) -> Result:
    """The result of a request, made again where it failed in a way that may pass."""
    failures = 0
    while True:
        try:
            return action()
        except UnreadableFileError as error:
            failures += 1
            pause(failures, error)


class Listing(NamedTuple):
    """What lies below a folder, or matches a pattern."""

    folder: Url
    """As the files' URLs begin."""
    files: list[Url]
    """Sorted; with sizes where the store's list has them."""


def list_files(folder: Url) -> Listing:
    """All files below a folder, or those that a pattern with `*` matches.

    Raises:
        UserError: there is no such folder, or it cannot be listed, or not in time.
    """

    def find() -> Listing:
        from fsspec.asyn import AsyncFileSystem
        from fsspec.exceptions import FSTimeoutError

        with store_errors(folder):
            store, path = open_store(folder)
            search = store.glob if "*" in path else store.find
            options = {"timeout": LISTING_SECONDS} if isinstance(store, AsyncFileSystem) else {}
            if folder.is_web and ("*" not in path or "**" in path):
                options["maxdepth"] = LISTING_DEPTH
            try:
                found = search(path, detail=True, **options)
            except FSTimeoutError as error:
                raise UserError(
                    f"{folder} was not listed in {LISTING_SECONDS:.0f} s; give a folder with fewer"
                    " files, or a pattern like {000..231}.tar"
                ) from error
            files = [
                Url(store.unstrip_protocol(name), _size(about))
                for name, about in found.items()
                if about.get("type", "file") == "file"
            ]
            begin = Url(store.unstrip_protocol(path))
        return Listing(begin, sorted(files, key=lambda file: file.text))

    return _patiently(find)


def look_up(files: Sequence[Url]) -> list[Url | None]:
    """The files with their sizes; None for those that are not there.

    Raises:
        UserError: a store does not answer, or forbids it.
    """

    def with_size(file: Url) -> Url:
        with store_errors(file):
            store, path = open_store(file)
            return Url(file.text, _size(store.info(path)))

    def found(file: Url) -> Url | None:
        try:
            return _patiently(lambda: with_size(file))
        except MissingFileError:
            return None

    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(found, files))


def read_range(file: Url, begin: int, end: int) -> bytes:
    """The bytes `begin` to `end` of a file, fewer where it is shorter."""

    def read() -> bytes:
        with store_errors(file):
            store, path = open_store(file)
            return bytes(store.cat_file(path, start=begin, end=end))[: end - begin]

    return _patiently(read)


def _unopened(url: Url, error: ValueError) -> UserError:
    return UserError(f"{url} cannot be opened ({_reason(error)}); check the URL")


def _unreadable(url: Url, error: BaseException | None) -> UserError:
    status = _status(error)
    text = f"{url} cannot be read ({type(error).__name__}: {_reason(error)})"
    if status is not None and 400 <= status < 500 and status not in TRANSIENT:
        return UserError(f"{text}; check the URL and your rights to it")
    return UnreadableFileError(f"{text}; give the same command again to go on")


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that an error tells of."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _size(about: dict[str, Any]) -> int | None:
    size = about.get("size")
    return size if type(size) is int and size >= 0 else None


def _reason(error: BaseException | None) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:200] if lines else "no reason given"
