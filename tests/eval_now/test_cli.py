"""The program `eval-now`: options, exit codes, streams, names that are no text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.eval_toy import NAMES, write_now, write_predictions

from eval_now.cli import COMMANDS, main

PROGRAM = [sys.executable, "-c", "import sys; from eval_now.cli import main; sys.exit(main())"]


def run(*arguments: str | bytes | Path, shell_suffix: str = "") -> subprocess.CompletedProcess:
    """Run the program as a shell does; `shell_suffix` redirects its streams."""
    script = f'"$@" {shell_suffix}; exit ${{PIPESTATUS[0]}}'
    line = ["bash", "-c", script, "bash", *PROGRAM, *arguments]
    return subprocess.run(line, capture_output=True, check=False)


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set, one image listed."""
    return write_now(tmp_path_factory.mktemp("now"), NAMES[:1])


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its prediction."""
    return write_predictions(tmp_path_factory.mktemp("p"), names=NAMES[:1])


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_says_its_version_and_help(command, capsys):
    assert main([*command, "--version"]) == 0
    assert capsys.readouterr().out.startswith("eval-now 0.")
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: eval-now" in capsys.readouterr().out


def test_command_line_errors_are_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("NOW_DATASET", raising=False)
    assert main(["--predictions", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "eval-now data" in error
    assert error.count("\n") == 1
    monkeypatch.setenv("NOW_DATASET", str(tmp_path / "absent"))
    assert main(["--predictions", str(tmp_path)]) == 2
    assert "absent: no such folder" in capsys.readouterr().err
    assert main(["compare", str(tmp_path)]) == 2
    assert "result.json: cannot be read" in capsys.readouterr().err
    assert main(["data"]) == 0
    assert "NOW_DATASET" in capsys.readouterr().out


def test_out_has_a_short_name_and_its_parents_are_made(now, predictions, tmp_path, capsys):
    out = tmp_path / "new/folder/run"
    arguments = ["--dataset", str(now), "--predictions", str(predictions), "--jobs", "1"]
    assert main([*arguments, "-o", str(out)]) == 0
    assert (out / "result.json").is_file()
    assert main(["compare", str(out), "-o", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c/table.md").is_file()
    mask = os.umask(0)
    os.umask(mask)
    for path in (out / "result.json", out / "table.md", tmp_path / "c/table.tex"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_suffixes_in_capitals_are_read(now, predictions, tmp_path, capsys):
    for path in (now, predictions):
        for file in [*path.rglob("*.obj"), *path.rglob("*.npy"), *path.rglob("*.pp")]:
            if "detected_face" not in file.parts:
                copy = (
                    tmp_path / path.name / file.relative_to(path).with_suffix(file.suffix.upper())
                )
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
    shouted = tmp_path / now.name
    (shouted / "imagepathsvalidation.txt").write_text(NAMES[0])
    arguments = ["--dataset", str(shouted), "--predictions", str(tmp_path / predictions.name)]
    assert main([*arguments, "-o", str(tmp_path / "o"), "--jobs", "1"]) == 0
    assert "NoW, non-metrical, mm" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names and devices of Linux")
def test_names_that_are_no_text(now, predictions, tmp_path):
    """Shown with backslashes, on the terminal and in the tables."""
    folder = os.fsencode(tmp_path) + b"/n\xff\x1b[31m"
    os.mkdir(folder)
    copy = folder + b"/p"
    os.symlink(predictions, copy)
    arguments = ["--dataset", now, "--predictions", copy, "-o", folder + b"/o\xfe", "--jobs", "1"]
    done = run(*arguments, "--heatmaps", "1")
    assert done.returncode == 0, done.stderr
    assert rb"n\udcff\x1b[31m/o\udcfe" in done.stdout
    with open(folder + b"/o\xfe/table.md", "rb") as table:
        assert rb"| o\udcfe |" in table.read()
    out, compared = (os.fsdecode(folder + name) for name in (b"/o\xfe", b"/c"))
    assert main(["compare", out, out, "-o", compared]) == 0
    (predictions / "predictions.json").write_text("{")
    try:
        done = run(*arguments)
    finally:
        (predictions / "predictions.json").unlink()
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_streams_that_are_full_or_closed(now, predictions, tmp_path):
    score = ["--dataset", now, "--predictions", predictions, "-o", tmp_path / "o", "--jobs", "1"]
    for arguments in (["--help"], ["data"], score):
        full = run(*arguments, shell_suffix="> /dev/full")
        assert full.returncode == 2
        assert full.stderr == b"error: output: No space left on device\n"
        if arguments == score:
            continue  # what is printed is printed as by `data`
        assert run(*arguments, shell_suffix=">&-").returncode == 0
        piped = run(*arguments, shell_suffix="| (exec 0<&-; sleep 0)")
        assert piped.returncode in (0, 141)
        assert not piped.stderr
    closed = run("--predictions", tmp_path / "nowhere", "--dataset", now, shell_suffix="2>&-")
    assert (closed.returncode, closed.stdout, closed.stderr) == (2, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_pipes_and_devices_are_refused_at_once(now, predictions, tmp_path, capsys):
    pipe = tmp_path / "list.txt"
    os.mkfifo(pipe)
    arguments = [
        "--dataset",
        str(now),
        "--predictions",
        str(predictions),
        "-o",
        str(tmp_path / "o"),
    ]
    for path in (pipe, Path("/dev/zero"), tmp_path):
        assert main([*arguments, "--image-list", str(path)]) == 2
        assert "expected a file, found a folder, pipe or device" in capsys.readouterr().err
    scan = next(now.rglob("scans/*/*.obj"))
    moved = scan.rename(tmp_path / "scan.obj")
    os.mkfifo(scan)
    try:
        assert main([*arguments, "--jobs", "1"]) == 2
        assert "expected a file, found a folder, pipe or device" in capsys.readouterr().err
    finally:
        scan.unlink()
        moved.rename(scan)


def test_help_and_package_stay_light():
    check = (
        "import sys\n"
        "from eval_now.cli import main\n"
        "assert not {'tyro', 'logging', 'numpy'} & set(sys.modules)\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy={'torch','numba','scipy','numpy','matplotlib'}&set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import eval_now.run, eval_now.report.heatmaps, eval_now.report.curves\n"
        "import eval_now.data.synthetic\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
