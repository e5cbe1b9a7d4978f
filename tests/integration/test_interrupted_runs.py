"""`reconstruct` on a folder, killed or interrupted at any moment: nothing half-written, it goes on.

The moments are spread over a run as long as it takes on this machine.
"""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.command_output import results

from mica_ext.commands.photo_run.output_plan import EXAMPLE

PROGRAM = "import sys; from mica_ext.cli import reconstruct; sys.exit(reconstruct())"
COMMAND = [sys.executable, "-c", PROGRAM]
PHOTOS = 6
KINDS = (".obj", ".overlay.png", ".params.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The photos, the files of an undisturbed run, and how long that took [s]."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "in").mkdir()
    for number in range(PHOTOS):
        shutil.copy(EXAMPLE, folder / "in" / f"{number}.jpg")
    start(folder, folder / "out").communicate()  # compiles what is compiled once
    shutil.rmtree(folder / "out")
    began = time.monotonic()
    process = start(folder, folder / "out")
    process.communicate()
    assert process.returncode == 0
    names = [f"{number}{kind}" for number in range(PHOTOS) for kind in KINDS]
    assert results(folder / "out") == sorted(names)
    return folder, time.monotonic() - began


def start(folder, out):
    flags = ["--out", out, "--params", out, "--overlay", out, "--head", "anthro", "--device", "cpu"]
    return subprocess.Popen(
        [*COMMAND, str(folder / "in"), *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def disturb(folder, out, number, after_s):
    """Start a run and send it a signal; its exit code and standard error."""
    process = start(folder, out)
    time.sleep(after_s)
    process.send_signal(number)
    _, err = process.communicate()
    return process.returncode, err


def check_goes_on(folder, out):
    """The run given again completes, with the files of an undisturbed one."""
    process = start(folder, out)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert results(out) == results(folder / "out")
    for name in results(out):
        assert (out / name).read_bytes() == (folder / "out" / name).read_bytes()
    again = start(folder, out)
    _, err = again.communicate()
    assert err == f"{PHOTOS} of {PHOTOS} photos are done already; --overwrite does them anew\n"


@pytest.mark.slow
def test_a_killed_run_goes_on_with_whole_files(whole, tmp_path):
    folder, seconds = whole
    for turn, part in enumerate(np.linspace(0.3, 1.0, 15)):
        out = tmp_path / str(turn)
        disturb(folder, out, signal.SIGKILL, part * seconds)
        check_goes_on(folder, out)


@pytest.mark.slow
def test_ctrl_c_at_any_moment_is_one_word_and_leaves_whole_photos(whole, tmp_path):
    folder, seconds = whole
    for turn, part in enumerate(np.linspace(0.15, 1.0, 25)):
        out = tmp_path / str(turn)
        code, err = disturb(folder, out, signal.SIGINT, part * seconds)
        assert (code, err) in {(130, "stopped\n"), (0, "")}
        left = results(out) if out.exists() else []
        photos = {name.split(".")[0] for name in left}
        assert left == sorted(f"{number}{kind}" for number in photos for kind in KINDS)
        if turn % 5 == 0:
            check_goes_on(folder, out)
