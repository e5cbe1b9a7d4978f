"""Strict, typed decoding of JSON into frozen dataclasses and named tuples; imports no torch.

Every JSON file that this package reads is decoded here: no field is guessed, dropped or ignored,
and a value of another type is one line that names the field. Nothing in a file is trusted, neither
its size nor its depth.
"""

import dataclasses
import functools
import json
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pacofr.errors import UserError
from pacofr.utils.bounded import read_bounded
from pacofr.utils.budgets import JSON_BYTES, JSON_CONTAINERS, JSON_DEPTH

Decoded = TypeVar("Decoded")


def read_json(file: Path, expected: str, *, max_bytes: int = JSON_BYTES) -> Any:
    """Parse a JSON file.

    Args:
        file: a regular file.
        expected: what it should be, for the error's text.
        max_bytes: larger files are refused before they are read.

    Raises:
        UserError: the file is missing, no regular file, too large, nested too deeply or no JSON.
    """
    try:
        data = read_bounded(file, max_bytes)
    except FileNotFoundError as error:
        raise UserError(f"{file}: expected {expected}, found no such file") from error
    except (OSError, UserError) as error:
        raise UserError(f"{file}: expected {expected}, got: {error}") from error
    return parse_json(data, str(file), expected)


def parse_json(data: bytes | str, where: str, expected: str) -> Any:
    """Parse JSON; `where` and `expected` stand in the error's text.

    Raises:
        UserError: it is no JSON, too large, or nested too deeply.
    """
    if isinstance(data, bytes):
        containers = data.count(b"[") + data.count(b"{")
    else:
        containers = data.count("[") + data.count("{")
    if containers > JSON_CONTAINERS:
        raise UserError(f"{where}: expected {expected}, got more than {JSON_CONTAINERS} lists")
    try:
        content = json.loads(data)
        _check_depth(content)
    except RecursionError as error:
        raise UserError(f"{where}: expected {expected}, got JSON nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{where}: expected {expected}, got: {error}") from error
    return content


def _check_depth(content: object) -> None:
    level = [content]
    for _ in range(JSON_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    raise RecursionError


def from_json(kind: type[Decoded], content: object, where: str) -> Decoded:
    """Rebuild a frozen dataclass or named tuple from its JSON form.

    Args:
        kind: the class; its fields' types decide what is accepted. Handled are bool, int, float
            (integers are accepted), str, Path, None, Literal, unions, tuples, mappings with text
            keys, and classes of the same two sorts.
        content: what `json.loads` returned.
        where: file and place in it, for the error's text.

    Raises:
        UserError: a field is missing, unknown, or of a wrong type or value.
    """
    return _decode(kind, content, where)


def _decode(hint: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        for choice in arguments:
            if type(choice) is type(value) and choice == value:
                return choice
        raise UserError(f"{where} must be one of {', '.join(map(repr, arguments))}, {_not(value)}")
    if origin in (typing.Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise UserError(f"{where} must be an object, {_not(value)}")
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
        return _decode_class(hint, value, where)
    return _decode_scalar(hint, value, where)


def _decode_union(arguments: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and types.NoneType in arguments:
        return None
    options = [option for option in arguments if option is not types.NoneType]
    for option in options[:-1]:
        try:
            return _decode(option, value, where)
        except UserError:
            continue
    return _decode(options[-1], value, where)


def _decode_tuple(arguments: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise UserError(f"{where} must be a list, {_not(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        hints = (arguments[0],) * len(value)
    else:
        hints = arguments
    if len(hints) != len(value):
        raise UserError(f"{where} must have {len(hints)} items, not {len(value)}")
    return tuple(
        _decode(hint, item, f"{where}[{number}]")
        for number, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _decode_class(kind: Any, value: object, where: str) -> Any:
    is_dataclass = dataclasses.is_dataclass(kind)
    names = [field.name for field in dataclasses.fields(kind)] if is_dataclass else kind._fields
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected the fields of {kind.__name__}, got {_short(value)}")
    missing, unknown = sorted(set(names) - value.keys()), sorted(value.keys() - set(names))
    if missing or unknown:
        raise UserError(
            f"{where}: {kind.__name__} lacks {_short(missing)} and does not know {_short(unknown)}"
        )
    hints = _type_hints(kind)
    parts = {name: _decode(hints[name], value[name], f"{where}, {name}") for name in names}
    try:
        return kind(**parts)
    except UserError as error:  # a value out of range
        raise UserError(f"{where}: {error}") from error


_type_hints = functools.cache(typing.get_type_hints)

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _decode_scalar(hint: Any, value: object, where: str) -> Any:
    if hint is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    if hint is float and type(value) in (int, float):
        try:
            number = float(value)  # type: ignore[arg-type]
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise UserError(f"{where} must be a finite number, {_not(value)}")
        return number
    if type(value) is hint:
        return value
    raise UserError(f"{where} must be {_NAMES.get(hint, 'text')}, {_not(value)}")


def _not(value: object) -> str:
    return f"not {_short(value)}"


def _short(value: object) -> str:
    return reprlib.repr(value)
