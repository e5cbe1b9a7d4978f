"""The strict decoder: every type that a config may have, and every value that it may not."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from pacofr.errors import UserError
from pacofr.utils.config_json import from_json, read_json


class Row(NamedTuple):
    name: str
    count: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    kind: Literal["relu", "gelu", 3] = "gelu"
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise UserError("rate must not be negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    flag: bool = True
    file: Path | None = None
    pair: tuple[int, float] = (1, 2.0)
    rows: tuple[Row, ...] = ()
    table: dict[str, int] = dataclasses.field(default_factory=dict)


FULL = Outer(
    inner=Inner(kind=3, rate=2.0),
    flag=False,
    file=Path("a/b"),
    pair=(3, 4.5),
    rows=(Row("x", None), Row("y", 2)),
    table={"k": 1},
)


def as_json(config):
    def plain(value):
        if isinstance(value, Row):
            return value._asdict()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return json.loads(json.dumps(plain(dataclasses.asdict(config)), default=str))


@pytest.mark.parametrize("config", [Outer(), FULL])
def test_what_is_written_comes_back(config):
    assert from_json(Outer, as_json(config), "here") == config


def test_a_whole_number_is_a_float_too():
    loaded = from_json(Inner, {"kind": "relu", "rate": 2}, "here")
    assert loaded.rate == 2.0
    assert type(loaded.rate) is float


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("inner", "kind"), "rope", "inner, kind must be one of 'relu', 'gelu', 3, not 'rope'"),
        (("inner", "kind"), 3.0, "kind must be one of"),
        (("inner", "rate"), "0.5", "inner, rate must be a number, not '0.5'"),
        (("inner", "rate"), True, "rate must be a number, not True"),
        (("inner", "rate"), math.nan, "rate must be a finite number, not nan"),
        (("inner", "rate"), 10**400, "rate must be a finite number"),
        (("inner", "rate"), -1, "inner: rate must not be negative"),
        (("inner", "rate"), None, "rate must be a number, not None"),
        (("inner",), [], "expected the fields of Inner, got \\[\\]"),
        (("flag",), "no", "flag must be true or false, not 'no'"),
        (("flag",), 1, "flag must be true or false, not 1"),
        (("file",), 5, "file must be text, not 5"),
        (("file",), "a\0b", "file must be text"),
        (("pair",), [1], "pair must have 2 items, not 1"),
        (("pair",), "ab", "pair must be a list, not 'ab'"),
        (("pair",), [1.5, 2], r"pair\[0\] must be a whole number, not 1.5"),
        (("pair",), [True, 2], r"pair\[0\] must be a whole number, not True"),
        (("rows",), [{"name": "x"}], r"rows\[0\]: Row lacks \['count'\]"),
        (("rows",), [{"name": "x", "count": 1, "more": 2}], r"does not know \['more'\]"),
        (("table",), [1], "table must be an object"),
        (("table",), {"k": "v"}, "table.k must be a whole number, not 'v'"),
    ],
)
def test_wrong_values_are_one_line_that_names_the_field(path, value, says):
    content = as_json(FULL)
    target = content
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    with pytest.raises(UserError, match=says) as caught:
        from_json(Outer, content, "here")
    assert str(caught.value).startswith("here")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "expected a config, got"),
        (b"{", "expected a config, got"),
        (b"\xff\xfe", "expected a config, got"),
        (b"1" * 5000, "expected a config, got"),
        (b"[" * 10**6, "nested too deeply"),
        (b"[" * 40 + b"]" * 40, "nested too deeply"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
        (b"[" + b"[]," * 2_000_000 + b"0]", "got more than 2000000 lists"),
        (("[" + "{}," * 2_000_000 + "0]").encode("utf-16"), "got more than 2000000 lists"),
    ],
)
def test_files_that_are_no_json(content, says, tmp_path):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_json(tmp_path / "c.json", "a config")


def test_size_kind_and_absence_of_files(tmp_path):
    (tmp_path / "c.json").write_text("[1, 2, 3]")
    assert read_json(tmp_path / "c.json", "a list") == [1, 2, 3]
    with pytest.raises(UserError, match="at most 4 in a file"):
        read_json(tmp_path / "c.json", "a list", max_bytes=4)
    for path, says in ((tmp_path, "folder"), (tmp_path / "no", "no such file")):
        with pytest.raises(UserError, match=says):
            read_json(path, "a list")
    for device in ("/dev/zero", "/dev/full"):
        if Path(device).exists():
            with pytest.raises(UserError, match="a device"):
                read_json(Path(device), "a list")
