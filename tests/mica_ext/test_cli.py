"""The programs as such: help, versions, streams, signals, what importing them costs."""

import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
from helpers.cold_starts import cold_starts
from helpers.command_output import one_line

import mica_ext
from mica_ext.cli import main, reconstruct
from mica_ext.reconstruct import Reconstructor

PROGRAM = "import sys; from mica_ext.cli import {}; sys.exit({}())"
RECONSTRUCT = [sys.executable, "-c", PROGRAM.format("reconstruct", "reconstruct")]
MICA_EXT = [sys.executable, "-c", PROGRAM.format("main", "main")]


def shell(program, line):
    """Run a program with the rest of a shell line; POSIX only."""
    command = f"{shlex.join(program)} {line}"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)


HEAVY = {"torch", "numba", "scipy", "cv2", "numpy", "PIL", "trimesh"}


@pytest.mark.parametrize("function", ["reconstruct", "main"])
def test_help_imports_nothing_heavy(function):
    (start,) = cold_starts("mica_ext.cli", function, ["--help"])
    assert (start.code, start.imported & HEAVY) == (0, set())
    assert "usage: " in start.said


def test_importing_the_programs_costs_no_library():
    script = (
        "import sys; before = set(sys.modules); import mica_ext.cli\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    own = {"mica_ext", "pacofr"} | set(sys.stdlib_module_names)
    assert set(done.stdout.split()) <= own


def test_the_package_offers_the_reconstructor_without_loading_it_first():
    script = "import sys, mica_ext; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert mica_ext.Reconstructor is Reconstructor
    assert not hasattr(mica_ext, "Reconstruct")


@pytest.mark.parametrize(
    ("program", "arguments", "name"),
    [
        (reconstruct, ["--version"], "reconstruct"),
        (main, ["--version"], "mica-ext"),
        (main, ["rebuild", "--version"], "mica-ext rebuild"),
        (main, ["synth-now", "--version"], "mica-ext synth-now"),
    ],
)
def test_every_command_tells_its_version(capsys, program, arguments, name):
    assert program(arguments) == 0
    assert capsys.readouterr().out == f"{name} {version('pacofr')}\n"


@pytest.mark.parametrize("kind", ["bash", "zsh"])
def test_shells_complete_options_and_commands(capsys, kind):
    for program, word in ((main, "train-landmarks"), (reconstruct, "--keep-unsure")):
        with pytest.raises(SystemExit) as end:
            program(["--tyro-print-completion", kind])
        assert end.value.code in (0, None)
        assert word in capsys.readouterr().out


def test_a_closed_standard_error_leaves_standard_output_alone(tmp_path):
    done = shell(RECONSTRUCT, f"{tmp_path}/no.jpg --out {tmp_path}/a.obj 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_full_disk_under_standard_output_is_one_line():
    if not os.path.exists("/dev/full"):
        pytest.skip("missing: /dev/full (Linux)")
    for program, line in ((RECONSTRUCT, "--help"), (MICA_EXT, "--version")):
        done = shell(program, f"{line} > /dev/full")
        assert done.returncode == 2
        assert "No space left on device" in one_line(done.stderr)


def test_a_reader_that_has_had_enough_ends_the_program_quietly():
    with subprocess.Popen(
        [*RECONSTRUCT, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_names_that_are_no_text_are_shown_with_backslashes(run, photo, tmp_path):
    odd = os.fsencode(tmp_path) + b"/n\xff.jpg"
    os.rename(photo, odd)
    code, out, _ = run(os.fsdecode(odd), "--out", tmp_path / "out", "--face", "all")
    assert code == 0
    assert set(os.listdir(os.fsencode(tmp_path / "out"))) == {b".reconstruct.jsonl", b"n\xff.obj"}
    code, _, err = run(os.fsdecode(odd), "-o", tmp_path / "a.obj", "--head", "nobody")
    assert code == 2
    assert one_line(err).startswith("error: no head 'nobody'")
    done = shell(RECONSTRUCT, f"{tmp_path}/n*.jpg -o {tmp_path}/a.fbx")
    assert done.returncode == 2


@pytest.mark.parametrize("wait_s", [0.3, 1.5])
def test_ctrl_c_while_it_loads_is_one_word(tmp_path, wait_s):
    """Imports of torch, numba and OpenCV included."""
    command = [*RECONSTRUCT, "--example", "-o", str(tmp_path / "a.obj"), "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(wait_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"stopped\n")
    assert list(tmp_path.iterdir()) == []
