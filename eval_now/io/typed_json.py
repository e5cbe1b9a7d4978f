"""Strict decoding of JSON files into dataclasses and named tuples."""

import contextlib
import dataclasses
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_JSON_BYTES, MAX_JSON_DEPTH
from eval_now.io.files import read_bytes

Decoded = TypeVar("Decoded")


class _MismatchError(Exception):
    """A value that does not fit its type; the text says where and why."""


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        UserError: unreadable, too large, nested too deeply, or not JSON.
    """
    data = read_bytes(path, MAX_JSON_BYTES)
    try:
        content = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, numbers of 5,000 digits
        raise UserError(f"{path}: not JSON ({error})") from None
    level = [content]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for parent in level for child in _children(parent)]
    if level:
        raise UserError(f"{path}: nested more than {MAX_JSON_DEPTH} levels deep")
    return content


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def decode(kind: type[Decoded], content: object, path: Path) -> Decoded:
    """Make a dataclass or named tuple of JSON content.

    Field types may be bool, int, float, str, None, Literal, unions, tuples and classes of the same
    kinds. An int is accepted for a float; floats must be finite. Fields with a default may be
    absent.

    Raises:
        UserError: names the first field that is missing, unknown or of a wrong type.
    """
    try:
        return _decode(kind, content, "")
    except _MismatchError as error:
        raise UserError(f"{path}: {error}") from None


def _decode(hint: Any, value: object, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in arguments):
            return value
        raise _mismatch(where, f"one of {', '.join(map(str, arguments))}", value)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _mismatch(where, "a list", value)
        if arguments[1:] == (...,):
            arguments = arguments[:1] * len(value)
        if len(arguments) != len(value):
            raise _mismatch(where, f"a list of {len(arguments)}", value)
        pairs = enumerate(zip(arguments, value, strict=True))
        return tuple(_decode(item, entry, f"{where}[{i}]") for i, (item, entry) in pairs)
    if hasattr(hint, "__dataclass_fields__") or hasattr(hint, "_fields"):
        return _decode_class(hint, value, where)
    if hint is float and isinstance(value, int | float) and type(value) is not bool:
        if not abs(value) <= sys.float_info.max:  # also for NaN and 10**400
            raise _mismatch(where, "a finite number", value)
        return float(value)
    if type(value) is not hint:
        names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
        raise _mismatch(where, names.get(hint, "null"), value)
    return value


def _decode_union(options: tuple[Any, ...], value: object, where: str) -> Any:
    """The value as the first of the types that accepts it."""
    for option in options[:-1]:
        with contextlib.suppress(_MismatchError):
            return _decode(option, value, where)
    return _decode(options[-1], value, where)


def _decode_class(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(where, f"an object of {kind.__name__}", value)
    hints = get_type_hints(kind)
    defaults = set(getattr(kind, "_field_defaults", ()))
    for entry in getattr(kind, "__dataclass_fields__", {}).values():
        if entry.default is not dataclasses.MISSING:
            defaults.add(entry.name)
    for name in hints:
        if name not in value and name not in defaults:
            raise _MismatchError(f"{_shown(where)} has no '{name}'")
    for name in value:
        if name not in hints:
            raise _MismatchError(f"{_shown(where)} has an unknown '{name[:40]}'")
    prefix = f"{where}." if where else ""
    return kind(**{name: _decode(hints[name], value[name], prefix + name) for name in value})


def _mismatch(where: str, expected: str, value: object) -> _MismatchError:
    found = "a list" if isinstance(value, list) else "an object"
    if not isinstance(value, list | dict):
        found = "a huge number" if type(value) is int and abs(value) > 10**40 else repr(value)[:40]
    return _MismatchError(f"expected {expected} for {_shown(where)}, found {found}")


def _shown(where: str) -> str:
    return f"'{where}'" if where else "the file"
