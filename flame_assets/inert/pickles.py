"""Pickles of other people as plain values, without unpickling them."""

from pathlib import Path
from typing import Any

from flame_assets.inert.budgets import PICKLE_BYTES
from flame_assets.inert.files import ReadError, disguise, errors_of, is_text, read_regular
from flame_assets.inert.pickle_graph.machine import DAMAGED, PickleMachine
from flame_assets.inert.pickle_graph.opcodes import read_graph
from flame_assets.inert.pickle_graph.values import Resolver


def parse_pickle(data: bytes, *, keep: str | None = None) -> Any:
    """The value of a pickle of any protocol, as the table of `values` says.

    Args:
        data: the pickle; bytes behind its end are ignored, as by pickle.
        keep: name of a package; instances of its classes come as `PickledObject`, not `Unread`.
    """
    try:
        return Resolver(keep=keep).resolve(read_graph(PickleMachine(data)))
    except ReadError as error:
        if error.reason == DAMAGED and (other := _disguise(data)):
            raise ReadError(other) from error
        raise


def read_pickle(path: Path, *, keep: str | None = None) -> Any:
    """The value of the pickle in the file `path`; see `parse_pickle`."""
    with errors_of(path):
        return parse_pickle(read_regular(path, PICKLE_BYTES), keep=keep)


def _disguise(data: bytes) -> str | None:
    if other := disguise(data):
        return other
    if data.startswith(b"PK\x03\x04"):
        return "is a zip archive, not a pickle"
    return "is a text file, not a pickle" if is_text(data) else None
