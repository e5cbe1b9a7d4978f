"""`flame-assets` as people call it: quick help, one-line errors, and a folder smplx can load."""

import ast
import importlib.metadata
import io
import os
import shlex
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from helpers.cold_starts import cold_starts
from helpers.flame_tiny import files_of_at_most, small_embedding, small_model, tiny_head
from helpers.form_server import form_server

from flame_assets import cli, store

HEAVY = {"torch", "numba", "scipy", "cv2", "safetensors", "matplotlib"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home, monkeypatch, capsys):
    def run(*words):
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:  # of the option parser
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def write_files(folder):
    import pickle

    folder.mkdir()
    (folder / "generic_model.pkl").write_bytes(pickle.dumps(small_model(), 2))
    np.save(folder / "landmark_embedding.npy", np.array(small_embedding(), dtype=object))
    return folder / "generic_model.pkl"


def test_help_imports_nothing_heavy():
    lines = ["--help", "convert --help", "export-smplx --help"]
    for start in cold_starts("flame_assets.cli", "main", lines):
        assert start.code == 0
        assert "usage: flame-assets" in start.said
        assert not start.imported & HEAVY


def test_the_module_alone_costs_nothing_and_the_version_needs_no_more():
    command = (
        "import sys, flame_assets.cli as cli\n"
        "assert not {'tyro', 'numpy', 'torch'} & set(sys.modules)\n"
        "cli.main(['--version'])\n"
        "assert not {'tyro', 'numpy', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == f"flame-assets {importlib.metadata.version('pacofr')}\n"


def test_mistakes_in_the_words_are_told_by_the_option_parser(run):
    for words in (["convrt"], ["convert", "--nane", "x"], ["download", "flame1999"]):
        code, _, err = run(*words)
        assert code == 2
        assert "flame-assets" in err


@pytest.mark.skipif(os.name == "nt", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize("command", ["download flame2020 <&-", "status >&-", "status 2>&-"])
def test_closed_streams_end_in_one_line_or_well(home, command):
    shell = f"{sys.executable} -c 'from flame_assets.cli import main; exit(main())' {command}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLAME_")}
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, env=environment)
    assert done.returncode == (2 if "download" in command else 0)
    assert done.stderr.count("\n") == ("download" in command)
    assert "Traceback" not in done.stderr


def test_a_home_of_nobody_is_one_line(run, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", "~nobody-here/x")
    code, _, err = run("status")
    assert code == 2
    assert err.startswith("error: PACOFR_HOME=~nobody-here/x: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="has pipes and devices among files")
def test_pipes_and_devices_are_refused_at_once(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        code, _, err = run("convert", path)
        assert code == 2
        assert "not a file" in err
        assert err.count("\n") == 1
    model = write_files(tmp_path / "files")
    for option in ("--landmarks", "--masks"):
        code, _, err = run("convert", model, option, tmp_path / "pipe")
        assert code == 2
        assert "a pipe or a device" in err


def test_convert_then_status_show_and_load(run, tmp_path, home):
    model = write_files(tmp_path / "files")
    code, out, _ = run("convert", model)
    assert code == 0
    assert "flame2020-generic" in out
    assert "non-commercial" in out
    code, out, _ = run("status")
    assert code == 0
    assert "flame2020-generic 2020" in out
    assert "intact" in out
    code, out, _ = run("show", "flame2020")
    assert code == 0
    assert "vertices: 60, triangles: 100" in out
    assert "modes: 300 shape, 100 expression" in out
    assert store.load_head("auto").name == "flame2020-generic"


def test_landmarks_are_found_beside_the_model_or_in_the_downloads(run, tmp_path, home):
    model = write_files(tmp_path / "files")
    store.downloads_folder().mkdir(parents=True)
    shutil.move(model.parent / "landmark_embedding.npy", store.downloads_folder())
    assert run("convert", model, "--name", "mine")[0] == 0
    assert store.load_head("mine").name == "mine"


@pytest.fixture
def archive(home, tmp_path, monkeypatch):
    """What a server that answers with FLAME2020.zip has been asked."""
    from flame_assets.download import flame_archives as download

    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as content:
        content.write(write_files(tmp_path / "files"), "generic_model.pkl")
    monkeypatch.setenv("FLAME_USERNAME", "a")
    monkeypatch.setenv("FLAME_PASSWORD", "b")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with form_server(data.getvalue(), {"username": "a", "password": "b"}) as server:
        monkeypatch.setattr(download, "ENDPOINT", server.endpoint)
        yield server.seen


def test_a_download_without_landmarks_ends_well_with_the_next_step(run, archive, tmp_path):
    code, out, _ = run("download", "flame2020")
    assert code == 0
    step = next(line for line in out.splitlines() if line.startswith("next: "))
    assert "is in data/ of DECA's repository" in out
    words = shlex.split(step.removeprefix("next: "))
    assert words[0] == "flame-assets"
    assert words[-1] == "landmark_embedding.npy"
    assert run(*words[1:-1], tmp_path / "files" / words[-1])[0] == 0
    assert store.load_head("flame2020").name == "flame2020-generic"


def test_a_finished_download_asks_for_no_account(run, archive, monkeypatch):
    assert run("download", "flame2020")[0] == 0
    monkeypatch.delenv("FLAME_PASSWORD")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run("download", "flame2020")[0] == 0
    assert len(archive) == 1


def test_a_download_with_landmarks_at_hand_is_converted(run, archive, tmp_path):
    store.downloads_folder().mkdir(parents=True)
    shutil.move(tmp_path / "files" / "landmark_embedding.npy", store.downloads_folder())
    code, out, _ = run("download", "flame2020")
    assert code == 0
    assert "next:" not in out
    assert store.load_head("flame2020").name == "flame2020-generic"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "a.pkl", "--name", "my head"], "--name: expected letters, digits and . _ -"),
        (["convert", "a.pkl", "--name", "auto"], "cannot be called 'auto'"),
        (["convert"], "expected a FLAME file"),
        (["convert", "nowhere.pkl"], "nowhere.pkl cannot be read"),
        (["convert", "a.pkl", "b.pkl", "--name", "x"], "expected one file with --name, got 2"),
        (["show", "flame2020"], "no head 'flame2020'"),
        (["download", "flame2020"], "an account at https://flame.is.tue.mpg.de is needed"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(run, monkeypatch, words, message):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.delenv("FLAME_PASSWORD", raising=False)
    code, _, err = run(*words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_disk_that_refuses_is_one_line_and_exit_2(run, tmp_path, home):
    model = write_files(tmp_path / "files")
    store.add_head(tiny_head(name="mine"))
    for words in (["convert", model], ["export-smplx", "mine", tmp_path / "smplx"]):
        with files_of_at_most(1000):
            code, _, err = run(*words)
        assert code == 2
        assert err.startswith("error: cannot write")
        assert err.count("\n") == 1


def test_any_other_refusal_of_the_file_system_is_one_line_too(run):
    code, _, err = run("show", "x" * 5000)
    assert code == 2
    assert err.startswith("error: ")
    assert err.endswith("File name too long\n")
    assert len(err) < 520


def test_the_export_command_says_how_to_load_it(run, tmp_path, home, caplog):
    store.add_head(tiny_head(name="mine"))
    folder = tmp_path / r"Users\new"  # a Windows path, or what looks like one
    code, out, _ = run("export-smplx", "mine", folder)
    assert code == 0
    assert ast.literal_eval(ast.parse(out, mode="eval").body.args[0]) == str(folder)
    assert "num_betas=4, num_expression_coeffs=3" in out
    assert "its lids differ from those of mine by up to" in caplog.text
    code, _, err = run("export-smplx", "mine", folder)
    assert code == 2
    assert "exists" in err
