"""The package walls of the project, checked on every run."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_packages_hold_the_same_guard():
    packages = ("pacofr", "mica_ext", "flame_assets", "eval_now")
    texts = {(REPOSITORY / package / "errors.py").read_text() for package in packages}
    assert len(texts) == 1, "errors.py differs: copy the changed one to the other packages"


def test_import_contracts_hold():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(lint_imports), "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
