"""What a program imports before it has printed its help, for many command lines at the cost of one.

A new interpreter imports the program and the option parser; each command line runs in a fork of it.
"""

import subprocess
import sys
from typing import NamedTuple

SCRIPT = """
import os, sys, tyro
from {module} import {function} as main
for line in sys.argv[1:]:
    sys.stdout.flush()
    if not os.fork():
        try:
            code = main(line.split())
        except SystemExit as stop:
            code = stop.code
        roots = sorted({{name.partition(".")[0] for name in sys.modules}})
        print("", code or 0, *roots, sep="\\t")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


class ColdStart(NamedTuple):
    """One command line."""

    code: int
    said: str
    """Standard output."""
    imported: set[str]
    """Packages and modules without a package."""


def cold_starts(module: str, function: str, lines: list[str]) -> list[ColdStart]:
    """Run `function` of a module with the words of each line; POSIX only."""
    script = SCRIPT.format(module=module, function=function)
    done = subprocess.run(
        [sys.executable, "-c", script, *lines], capture_output=True, text=True, check=True
    )
    found, said = [], []
    for line in done.stdout.splitlines():
        if line.startswith("\t"):
            code, *imported = line[1:].split("\t")
            found.append(ColdStart(int(code), "\n".join(said), set(imported)))
            said = []
        else:
            said.append(line)
    assert len(found) == len(lines), done.stderr
    return found
