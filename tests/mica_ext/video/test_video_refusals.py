"""`reconstruct` of videos: options that make no sense, names that cannot work, stopped runs."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.command_output import one_line

from mica_ext.cli import main, reconstruct
from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.video_run.plan import plan_video


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing to write: give --out clip.glb"),
        (["--out", "a.obj"], "expected a name ending in .glb for a video"),
        (["--out", "a.glb", "--overlay", "a.png"], "--overlay a.png: expected a name ending in"),
        (["--csv", "a.txt"], "--csv a.txt"),
        (["--out", "a.glb", "--texture"], "--texture is for photos"),
        (["--out", "a.glb", "--landmarks", "l.json"], "--landmarks is for photos"),
        (["--out", "a.glb", "--face", "all"], "--face all"),
        (["--out", "a.glb", "--bbox", "1", "2", "3", "4"], "--bbox is for photos"),
        (["--overlay", "{video}"], "is the video"),
        (["other.jpg", "--out", "a.glb"], "is a video: give one video alone"),
    ],
)
def test_what_cannot_work_is_one_line(filmed, capsys, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    options = [option.format(video=filmed) for option in options]
    assert reconstruct([str(filmed), *options]) == 2
    assert said in one_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_csv_is_for_videos(photo, capsys):
    assert reconstruct([str(photo), "--csv", "a.csv", "--out", "a.obj"]) == 2
    assert "--csv is for a video" in one_line(capsys.readouterr().err)


def test_the_viewers_page_stands_beside_the_results(filmed, tmp_path):
    config = ReconstructConfig(photos=(filmed,), out=tmp_path / "clip.glb", view="page")
    assert plan_video(config, filmed).view == tmp_path / "clip.view.html"


def test_results_are_not_replaced_unasked(filmed, capsys, tmp_path):
    (tmp_path / "a.json").write_text("mine")
    assert reconstruct([str(filmed), "--params", str(tmp_path / "a.json")]) == 2
    assert "--overwrite" in one_line(capsys.readouterr().err)
    assert main(["synth-video", str(filmed)]) == 2
    assert "--overwrite" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a.avi"], "expected a name ending in"),
        (["a.mp4", "--size", "8", "8"], "64 to 4096 px"),
        (["a.mp4", "--seconds", "nan"], "above 0"),
        (["a.mp4", "--motion", "none.csv"], "none.csv"),
    ],
)
def test_synth_video_refuses_in_one_line(capsys, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    assert main(["synth-video", *options]) == 2
    assert said in one_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_recording_can_be_played(filmed, tmp_path):
    recording = filmed.with_suffix(".truth.csv")
    played = tmp_path / "a.mp4"
    options = ["--motion", str(recording), "--fps", "6", "--size", "64", "64", "--seconds", "0.5"]
    assert main(["synth-video", str(played), *options]) == 0
    again = (tmp_path / "a.truth.csv").read_text().splitlines()
    source = recording.read_text().splitlines()
    assert [row.split(",")[2:] for row in again] == [row.split(",")[2:] for row in source[:7:2]]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_stopped_run_leaves_nothing(filmed, tmp_path):
    code = "import sys; from mica_ext.cli import reconstruct; sys.exit(reconstruct(sys.argv[1:]))"
    files = ["--out", str(tmp_path / "a.glb"), "--overlay", str(tmp_path / "a.mp4")]
    command = [sys.executable, "-c", code, str(filmed), *files, "--points", "student"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    while run.poll() is None and not list(tmp_path.iterdir()):
        time.sleep(0.02)  # until the files are being written
    run.send_signal(signal.SIGINT)
    assert run.communicate()[1].decode().strip() == "stopped"
    assert run.returncode == 130
    assert not list(tmp_path.iterdir())
