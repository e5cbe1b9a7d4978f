"""The encoder of the shipped pack by itself: the same features, and a card."""

import json

import pytest
import torch

from flame_assets.store import load_head
from mica_ext import cli
from mica_ext.expression.weights import load_expression_network
from mica_ext.models.pack import load_pack
from pacofr.pretraining.encoder_spec import load_encoder_spec


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("encoder") / "enc"
    assert cli.main(["export-encoder", "--out", str(out)]) == 0
    return out


def test_it_gives_the_features_of_the_pack(exported):
    pack = load_pack("anthro-expression")
    network = load_expression_network(pack.expression, load_head(pack.head))
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    encoder = load_encoder_spec(str(exported))
    with torch.no_grad():
        for found, expected in zip(encoder(images), network.encoder(images), strict=True):
            assert torch.equal(found, expected)
    assert load_encoder_spec(str(exported), 64).config.image_size == 64


def test_its_card_says_data_licence_and_command(exported):
    card = (exported / "model/README.md").read_text()
    about = json.loads((exported / "model/config.json").read_text())
    for said in (about["licence"], about["made_by"], "LFW", "716,288"):
        assert said in card
    assert sum(file.stat().st_size for file in exported.rglob("*")) < 3e6


def test_a_pack_without_one_and_a_folder_that_exists_are_one_line(exported, tmp_path, capsys):
    assert cli.main(["export-encoder", "auto", "--out", str(tmp_path / "x")]) == 2
    assert "no expression network" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert cli.main(["export-encoder", "--out", str(exported)]) == 2
    assert "exists" in capsys.readouterr().err
