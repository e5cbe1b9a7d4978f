"""Decoders' remarks on damaged files, which are kept off standard error: one line says it all."""

import contextlib
import ctypes
import ctypes.util
import functools
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import PIL


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep Pillow's and libtiff's remarks on sizes, metadata and damage to themselves."""
    _silence_libtiff()
    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


@functools.cache
def _silence_libtiff() -> None:
    """Take away the handler by which libtiff prints errors; Pillow raises them all the same."""
    package = Path(PIL.__file__).parent
    bundled = [*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")]
    name = str(bundled[0]) if bundled else ctypes.util.find_library("tiff")
    with contextlib.suppress(OSError, AttributeError):  # a Pillow without TIFF, or built otherwise
        library = ctypes.CDLL(name)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
