"""Beginning from another run's weights, crops held out, and weights stored as they are used."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.pacofr_tiny import TinyCrops, tiny_config
from helpers.run_files import assert_same_end, metrics
from safetensors.torch import load_file

from pacofr.engine.task import RunOptions
from pacofr.errors import UserError
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining.config import CodebookConfig, DataConfig
from pacofr.pretraining.held_out import split_crops
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import load_pretrained
from pacofr.pretraining.method.perceptual_net import PerceptualNet
from pacofr.pretraining.presets import ABLATIONS
from pacofr.pretraining.train import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")


def run(config, out, init_from=None):
    return pretrain(config, TinyCrops(), RunOptions(out=out, device="cpu"), init_from)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "run"
    run(ABLATIONS["1-token"].apply(tiny_config(epochs=1)), out)
    return out


def still(config):
    """Trains without changing anything."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, base_lr=0.0))


def test_a_run_begins_with_the_parts_of_another_that_fit(first, tmp_path):
    """One token there, three here: encoder and decoder are taken over, the codebook is new."""
    run(still(tiny_config(epochs=1)), tmp_path, first)
    ours, theirs = (load_file(out / "model/model.safetensors") for out in (tmp_path, first))
    taken = [name for name in theirs if name.startswith(("encoder.", "decoder."))]
    assert len(taken) > 30
    assert all(torch.equal(ours[name], theirs[name]) for name in taken)
    assert ours["codebook.tokens"].shape != theirs["codebook.tokens"].shape


def test_resuming_asks_for_the_same_first_weights(first, tmp_path):
    config = still(ABLATIONS["1-token"].apply(tiny_config(epochs=1)))
    run(config, tmp_path / "run", first)
    assert run(config, tmp_path / "run", first) == 0
    with pytest.raises(UserError, match=r"init_from\.fingerprint: \w{64} there, None here"):
        run(config, tmp_path / "run")
    wide = dataclasses.replace(config.model.encoder, depth=1)
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, encoder=wide))
    with pytest.raises(UserError, match="its encoder is another one"):
        run(other, tmp_path / "other", first)
    with pytest.raises(UserError, match="found no config.json"):
        run(config, tmp_path / "none", tmp_path)


def test_a_codebook_of_another_size_is_not_gone_on_with(tmp_path):
    config = still(tiny_config(epochs=1))
    run(config, tmp_path)
    model = dataclasses.replace(config.model, codebook=CodebookConfig(candidates=5))
    with pytest.raises(UserError, match=r"codebook\.candidates: 3 there, 5 here"):
        run(dataclasses.replace(config, model=model), tmp_path)


@pytest.mark.parametrize(("images", "held"), [(50, 7), (50, 25), (51, 1), (9, 4)])
def test_crops_are_either_trained_on_or_held_out(images, held):
    crops = TinyCrops(images=images)
    training, held_out = split_crops(crops, held)
    ours = training.positions(np.arange(len(training)))
    theirs = held_out.positions(np.arange(len(held_out)))
    assert len(held_out) == held
    assert sorted([*ours, *theirs]) == list(range(images))
    assert np.array_equal(held_out.read(0, np.array([0])), crops.read(0, theirs[:1]))


def test_more_than_half_is_not_held_out():
    with pytest.raises(UserError, match=r"at most half of 50 crops.*--data\.held-out 26"):
        split_crops(TinyCrops(), 26)


def test_the_error_on_crops_held_out(tmp_path):
    """By the published weights, in plain terms; and an interrupted run measures the same."""
    config = tiny_config(epochs=2, data=DataConfig(workers=0, held_out=10))
    run(config, tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert [row["step"] for row in rows if "held_out_mse" in row] == [4, 8]
    model, held_out = load_pretrained(tmp_path / "run"), split_crops(TinyCrops(), 10).held_out
    images = torch.from_numpy(held_out.read(0, np.arange(10))) / 255
    drawn = sample_masks(0, 0, np.arange(10), config.model, config.masking)
    masks = [torch.from_numpy(m) for m in drawn]
    for name, random in (("held_out_mse", False), ("held_out_mse_random", True)):
        masks[2] = masks[0] & random
        with torch.no_grad():
            output = model(images, *masks)
        error = (output.prediction - output.target).square().mean(dim=-1)[masks[0]].mean()
        assert rows[-1][name] == pytest.approx(float(error), rel=1e-5)

    stopped = dataclasses.replace(config, checkpoint_minutes=0.0)
    run(stopped, tmp_path / "again")
    last = tmp_path / "again/checkpoints/step_00000008"
    for file in sorted(last.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    last.rmdir()
    run(stopped, tmp_path / "again")
    assert_same_end(tmp_path / "again", tmp_path / "run")


def test_weights_in_bf16_are_what_autocast_makes_of_them():
    torch.manual_seed(0)
    vit = VisionTransformer(tiny_config().model.encoder)
    net = PerceptualNet(vit, (1, 2))
    images = torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        before = net(images)
        net.store_products_in(torch.bfloat16)
        after = net(images)
    assert vit.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert vit.norm.weight.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
