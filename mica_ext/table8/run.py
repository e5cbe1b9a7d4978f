"""`mica-ext table8`: one eval-now run a pack, then the table."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from eval_now.config import EvalConfig
from eval_now.errors import UserError as BenchmarkError
from eval_now.io.terminal import Terminal
from eval_now.run import run
from mica_ext.errors import UserError, printable
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pack import find_pack, load_pack
from mica_ext.table8.config import Table8Config
from mica_ext.table8.table import MeasuredRow, json_content, markdown, measured_row, table_lines

PREDICTOR = "mica_ext"
"""Of the entry-point group `eval_now.predictors`."""


class AskedPack(NamedTuple):
    """One of --packs."""

    name: str
    """Of its row and its folder."""
    pack: str


def table8(config: Table8Config) -> None:
    """Score the packs and write the table.

    Raises:
        UserError: if the data, a pack or a prediction cannot be used, or a file not be written.
    """
    asked = asked_packs(config.packs)
    packs = [load_pack(one.pack) for one in asked]  # before hours of work
    rows: list[MeasuredRow] = []
    for one, pack in zip(asked, packs, strict=True):
        settings = EvalConfig(
            dataset=config.dataset,
            predictor=f"{PREDICTOR}:{one.pack}",
            protocol="both",
            allow_missing=config.allow_missing,
            jobs=config.jobs,
            name=one.name,
            out=config.out / one.name,
        )
        try:
            result = run(settings, Terminal())
        except BenchmarkError as error:
            raise UserError(f"{one.name}: {error}") from error
        if result is None:
            raise ValueError("table8: the validation split gives a result")
        rows.append(measured_row(one.name, one.pack, pack, result))
    write_bytes_atomic(config.out / "table8.md", markdown(rows).encode())
    content = json.dumps(json_content(rows), indent=1) + "\n"
    write_bytes_atomic(config.out / "table8.json", content.encode())
    print("\n".join(printable(line) for line in table_lines(rows)))
    print(printable(f"written to {config.out / 'table8.md'}, {config.out / 'table8.json'}"))


def asked_packs(words: tuple[str, ...]) -> list[AskedPack]:
    """The packs of --packs with names that are different file names.

    Raises:
        UserError: two rows have one name, or a name is no file name.
    """
    asked = []
    for word in words:
        given, equals, pack = word.partition("=")
        if not equals:
            given, pack = _name_of(word), word
        if not re.fullmatch(r"[\w][\w.+-]*", given) or not pack:
            raise UserError(
                f"--packs {word}: expected PACK or NAME=PACK, NAME of letters, digits and . _ + -"
            )
        asked.append(AskedPack(given, pack))
    names = [one.name.lower() for one in asked]
    for one in asked:
        if names.count(one.name.lower()) > 1:
            raise UserError(f"--packs: two rows are called {one.name}; give NAME=PACK")
    return asked


def _name_of(pack: str) -> str:
    if pack == "auto":
        return "auto"
    folder = find_pack(pack)
    name = Path(folder).resolve().name
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "pack"
