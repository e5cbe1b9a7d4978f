"""What the tests ask of a command's output and of its folder of results."""

from pathlib import Path

from mica_ext.commands.photo_run.run_record import RECORD_FILE


def one_line(err: str) -> str:
    """The only line of standard error, which must be an error."""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def results(folder: Path) -> list[str]:
    """Names of the files of a folder of results, without its record."""
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD_FILE)
