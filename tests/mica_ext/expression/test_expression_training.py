"""`mica-ext train` on rendered faces with a tiny encoder: it learns, resumes exactly, and loads."""

import dataclasses
import json
import shutil

import pytest
import torch
from helpers.mica_toy import landmark_head
from safetensors.torch import load_file

from flame_assets.store import load_head
from mica_ext.cli import main
from mica_ext.errors import UserError
from mica_ext.expression.config import BranchConfig, CropChanges, ExpressionTrainingConfig
from mica_ext.expression.training.train import ExpressionTraining, trainer_config
from mica_ext.expression.weights import load_expression_network, read_expression_config
from pacofr.engine.checkpoint import checkpoints
from pacofr.engine.distributed import World, process_group
from pacofr.engine.task import RunOptions
from pacofr.engine.trainer import fit
from pacofr.errors import UserError as EngineError
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer

ALONE = World(0, 1, torch.device("cpu"))


def options(out, **changes):
    given = {
        "out": out,
        "encoder": "scratch",
        "branch": BranchConfig(width=32, heads=2, depth=1),
        "changes": CropChanges(occlusion=0.0, light=0.0),
        "steps": 12,
        "batch": 4,
        "faces": 40,
        "held_out": 4,
        "learning_rate": 1e-3,
        "warm_up": 2,
        "ema_decay": 0.7,
        "workers": 0,
        "validate_every": 6,
        "device": "cpu",
    }
    return ExpressionTrainingConfig(**(given | changes))


def task_of(config):
    torch.manual_seed(0)
    vit = VisionTransformer(VitConfig(image_size=64, width=32, depth=4, heads=2))
    return ExpressionTraining(config, vit, load_head("anthro"), ALONE)


def run(config):
    trainer = dataclasses.replace(trainer_config(config), save_steps=6)
    with process_group("cpu") as world:
        return fit(task_of(config), trainer, RunOptions(out=config.out, device="cpu"), world)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    assert run(options(out)) == 0
    return out


def metrics(out):
    varying = ("seconds", "time", "images_per_second", "memory")
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in varying} for line in lines]


def test_it_learns_and_says_how_well(trained):
    lines = metrics(trained)
    assert [line["step"] for line in lines if "val_posed_mm" in line] == [6, 12]
    assert sum(line["loss"] for line in lines[-3:]) < 0.8 * sum(line["loss"] for line in lines[:3])
    assert all(line["rest_posed_mm"] > 0.5 for line in lines if "rest_posed_mm" in line)
    about = read_expression_config(trained / "model")
    assert "mm on 4 rendered faces of other people" in about.score
    assert about.made_by.startswith("mica-ext train --encoder scratch")


def test_a_frozen_encoder_is_published_as_it_was(trained):
    held = load_file(trained / "model" / "model.safetensors")
    vit = task_of(options(trained)).network.encoder.vit
    for name, value in vit.state_dict().items():
        assert torch.equal(held[f"encoder.vit.{name}"], value.half()), name
    assert held["branch.heads.expression.weight"].abs().sum() > 0


def test_the_published_network_is_the_average_of_the_run(trained):
    head = load_head("anthro")
    network = load_expression_network(trained / "model", head)
    averaged = task_of(options(trained)).network
    newest = checkpoints(trained)[0]
    averaged.load_state_dict(load_file(newest / "training" / "ema.safetensors"))
    crops = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(network.read(crops), averaged.eval().read(crops), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0.01)
    assert not any(p.requires_grad for p in network.parameters())


def test_a_stopped_run_goes_on_exactly(trained, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained, out, symlinks=True)
    shutil.rmtree(checkpoints(out)[0])
    shutil.rmtree(out / "model")
    assert run(options(out)) == 0
    assert metrics(out) == metrics(trained)
    ours, theirs = (load_file(o / "model" / "model.safetensors") for o in (out, trained))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    with pytest.raises(EngineError, match="tuned: False there, True here"):
        run(options(out, tuned=True))


def test_a_run_begins_with_given_weights(trained, tmp_path):
    begun = options(tmp_path / "out", init_from=trained / "model", steps=1, validate_every=0)
    task = task_of(begun)
    held = load_file(trained / "model" / "model.safetensors")
    for name, value in task.network.state_dict().items():
        torch.testing.assert_close(value, held[name].float(), rtol=0, atol=0)
    assert task.run_config["init_from"] == read_expression_config(trained / "model").sha256
    wider = options(tmp_path / "out", init_from=trained / "model", branch=BranchConfig(width=64))
    with pytest.raises(UserError, match="expected weights of this network"):
        task_of(wider)


def test_weights_of_the_version_before_load(trained, tmp_path):
    """They read no identity, and their config says nothing of it."""
    folder = tmp_path / "model"
    shutil.copytree(trained / "model", folder)
    content = json.loads((folder / "config.json").read_text())
    del content["branch"]["identity"], content["shape_basis"]
    (folder / "config.json").write_text(json.dumps(content | {"version": 2}))
    head = load_head("anthro")
    old, new = (load_expression_network(each, head) for each in (folder, trained / "model"))
    assert old.branch.config == new.branch.config
    assert all(torch.equal(value, old.state_dict()[k]) for k, value in new.state_dict().items())


def test_other_heads_and_damage_are_one_line(trained, tmp_path):
    with pytest.raises(UserError, match="reads the expressions of anthro"):
        load_expression_network(trained / "model", landmark_head())
    folder = tmp_path / "model"
    shutil.copytree(trained / "model", folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        load_expression_network(folder, load_head("anthro"))
    for changes, words in (
        ({"version": 1}, "found mica-ext expression version 1"),
        ({"branch": {"width": 7}}, "branch"),
        ({"colour": "red"}, "colour"),
    ):
        content = json.loads((trained / "model" / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=words):
            read_expression_config(folder)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give its weights with --encoder-weights"),
        (["--encoder-weights", "nowhere"], "nowhere"),
        (["--steps", "0"], "--steps: expected at least 1"),
        (["--branch.layers", "4", "2"], "rising order"),
        (["--weights.pose", "-1"], "--weights.pose"),
    ],
)
def test_what_cannot_be_trained_is_one_line(tmp_path, capsys, flags, words):
    assert main(["train", "--out", str(tmp_path / "out"), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
