"""What README and manuals say can be typed, can be: their commands, flags and paths."""

import re
import shlex
from pathlib import Path

import pytest

from eval_now.cli import main as eval_now
from flame_assets.cli import main as flame_assets
from mica_ext.cli import main as mica_ext
from mica_ext.cli import reconstruct
from pacofr.cli import main as pacofr

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "mica_ext/README.md", "pacofr/README.md", "tests/bench/README.md")
TEXTS = {name: (REPOSITORY / name).read_text() for name in DOCUMENTS}
PROGRAMS = {
    "reconstruct": reconstruct,
    "mica-ext": mica_ext,
    "eval-now": eval_now,
    "flame-assets": flame_assets,
    "pacofr": pacofr,
}


def commands() -> list[list[str]]:
    """Words of each call of one of the programs, once, in any document."""
    found = [words for text in TEXTS.values() for words in commands_of(text)]
    return [list(words) for words in dict.fromkeys(map(tuple, found))]


def commands_of(text: str) -> list[list[str]]:
    """The calls in code blocks and in `inline code`."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    shell = [block for language, block in fenced.findall(text) if not language]
    inline = re.findall(r"`([^`\n]+)`", fenced.sub("", text))
    lines = "\n".join(shell).replace("\\\n", " ").splitlines() + inline
    found = []
    for line in lines:
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            names = [Path(word).name for word in words]
            start = next((i for i, name in enumerate(names) if name in PROGRAMS), None)
            if start is not None and (
                start == 0 or words[start - 1] == "-m" or "/" in words[start]
            ):
                found.append([names[start], *words[start + 1 :]])
    return found


def call_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The help of the command that these words call, as far as they name subcommands."""
    subcommands = []
    for word in words[1:]:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", word) or len(subcommands) == 3:
            break
        subcommands.append(word)
    while True:
        try:
            code = PROGRAMS[words[0]]([*subcommands, "--help"])
        except SystemExit as left:
            code = left.code
        shown = capsys.readouterr()
        if code in (0, None):
            return shown.out
        assert subcommands, f"{words}: {shown.err}"
        subcommands.pop()


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_and_flags_exist(words, capsys):
    shown = call_help(words, capsys)
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    missing = [flag for flag in flags if not re.search(rf"{re.escape(flag)}(?![a-z-])", shown)]
    assert not missing, f"{' '.join(words)}: no flag {missing}"


def test_commands_were_found():
    assert {words[0] for words in commands()} == set(PROGRAMS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_exist(name):
    text = TEXTS[name]
    named = re.findall(r"[`(]((?:pacofr|mica_ext|flame_assets|eval_now|tests)/[\w./-]+)", text)
    calls = re.findall(r"(tests/[\w/]+\.py)", text)
    assert named or calls
    missing = [path for path in {*named, *calls} if not (REPOSITORY / path).exists()]
    assert not missing
