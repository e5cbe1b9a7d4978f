"""`reconstruct` as a user runs it, with a toy head and an untrained network: fast mechanics."""

import shutil

import pytest
import torch
from helpers.flame_like import flame_like
from helpers.mica_toy import toy_head
from PIL import Image

from flame_assets.model.head_io import save_head
from mica_ext.cli import reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.landmarks.student.network import LandmarkNetwork
from mica_ext.landmarks.student.weights import save_landmark_network
from mica_ext.models.pack import Pack, save_pack


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """A pack whose network has learned nothing and sees no face anywhere, with the toy head."""
    folder = tmp_path_factory.mktemp("pack")
    torch.manual_seed(0)
    network = LandmarkNetwork()
    last = network.confidence[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.constant_(last.bias, -5.0)
    save_landmark_network(
        network, folder / "points", licence="untrained", command="-", seed=0, score="-"
    )
    head = save_head(toy_head(), folder / "head")
    save_pack(
        Pack(name="packed", licence="tests only", head=str(head), landmarks=folder / "points"),
        folder,
    )
    return folder


@pytest.fixture(scope="session")
def flame_like_store(tmp_path_factory, head):
    """A store with a FLAME-like head and its shapes, carried once, and Anthro in a folder."""
    home = tmp_path_factory.mktemp("store")
    save_head(head, home / "source")
    save_head(flame_like(head), home / "heads" / "flame-like")
    return home


@pytest.fixture
def run(pack, capsys):
    """Run `reconstruct` with the test pack: exit code, standard output and error.

    The untrained network is never confident, so that its results must be kept.
    """

    def run(*arguments):
        fixed = ["--model", str(pack), "--keep-unsure"]
        code = reconstruct([str(argument) for argument in arguments] + fixed)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def photo(tmp_path):
    """The example portrait, as a file of its own."""
    return shutil.copy(EXAMPLE, tmp_path / "photo.jpg")


@pytest.fixture
def crowd(tmp_path):
    """The example portrait three times, in three sizes."""
    portrait = Image.open(EXAMPLE).convert("RGB").crop((100, 0, 360, 300))
    canvas = Image.new("RGB", (900, 420), (120, 130, 140))
    canvas.paste(portrait, (10, 60))
    canvas.paste(portrait.resize((182, 210)), (330, 100))
    canvas.paste(portrait.resize((338, 390)), (550, 10))
    canvas.save(tmp_path / "crowd.png")
    return tmp_path / "crowd.png"
