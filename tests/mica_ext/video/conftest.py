"""A short clip of a rendered head, filmed and reconstructed once."""

import pytest

from mica_ext.cli import main, reconstruct
from mica_ext.reconstruct import Reconstructor
from mica_ext.video_files.reader import VideoReader


@pytest.fixture(scope="package")
def filmed(tmp_path_factory):
    """2 s at 12 frames a second, 160 x 120, with its truth beside it."""
    path = tmp_path_factory.mktemp("filmed") / "clip.mp4"
    options = ["--seconds", "2.4", "--fps", "12", "--size", "160", "120", "--seed", "2"]
    assert main(["synth-video", str(path), *options]) == 0
    return path


@pytest.fixture(scope="package")
def student():
    """The shipped network and the Anthro head."""
    return Reconstructor.load("auto", points="student")


@pytest.fixture(scope="package")
def results(filmed, tmp_path_factory):
    """Folder with every file of `reconstruct clip.mp4`."""
    folder = tmp_path_factory.mktemp("results")
    files = {"out": "clip.glb", "csv": "clip.csv", "params": "clip.json", "overlay": "clip.webm"}
    options = [word for flag, name in files.items() for word in (f"--{flag}", str(folder / name))]
    assert reconstruct([str(filmed), *options, "--points", "student"]) == 0
    return folder


@pytest.fixture(scope="package")
def pictures(filmed):
    """The clip's frames."""
    return [frame.image for frame in VideoReader(filmed)]
