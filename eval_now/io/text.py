"""Lines and numbers of text files."""

from pathlib import Path

from eval_now.errors import UserError
from eval_now.io.budgets import MAX_COORDINATE


def split_lines(data: bytes) -> list[str]:
    """Lines of a text file with Unix, Windows or old Mac line ends, as an editor counts them."""
    return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def parse_floats(words: list[str], count: int, path: Path, line: int) -> list[float]:
    """`count` finite numbers below MAX_COORDINATE; a `UserError` that names the line otherwise."""
    try:
        values = [float(word.replace("_", "?")) for word in words]  # float() accepts 1_000
    except ValueError:
        values = []
    if len(values) != count or not all(abs(value) < MAX_COORDINATE for value in values):
        found = " ".join(words)[:80]
        raise UserError(
            f"{path} line {line}: expected {count} finite numbers below "
            f"{MAX_COORDINATE:g}, found {found!r}"
        )
    return values
