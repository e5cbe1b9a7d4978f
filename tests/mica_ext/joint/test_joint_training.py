"""`mica-ext train --preset table8`: identity network and branch, jointly and with it frozen."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.command_output import one_line
from helpers.expression_tiny import BRANCH
from helpers.identity_training import region_head
from helpers.joint_training import config, run, write_tree
from helpers.processes import start_two, wait_until
from safetensors.torch import load_file

from flame_assets.model.head_module import HeadDecoder
from mica_ext.cli import main
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.expression.config import ExpressionTrainingConfig, Table8Config
from mica_ext.identity.weights import load_identity_network, read_identity_config
from mica_ext.joint.train import make_joint_task
from mica_ext.models.pack import load_pack
from mica_ext.models.pose import in_pose
from mica_ext.reconstruct import Reconstructor
from pacofr.engine.checkpoint import checkpoints
from pacofr.engine.distributed import World
from pacofr.images import load_image

SCRIPT = Path(__file__).parents[2] / "helpers" / "joint_training.py"
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("joint"))


def flags(tree, out, *more):
    words = ["train", "--preset", "table8", "--identity", tree / "pack", "--head", tree / "head"]
    words += ["--encoder-weights", tree / "encoder", "--data", tree / "coma", tree / "photos"]
    words += ["--steps", 2, "--batch", 6, "--held-out", 2, "--workers", 0, "--validate-every", 1]
    words += ["--branch.width", BRANCH.width, "--branch.heads", 2, "--branch.depth", 1]
    words += ["--device", "cpu", "--learning-rate", 0.01, "--warm-up", 0, "--ema-decay", 0.1]
    words += ["--save-minutes", 1e-6]  # a checkpoint after every step
    return [str(word) for word in (*words, "--rendered", 0, "--out", out, *more)]


def identity_of(tree):
    return tree / "pack" / "identity"


@pytest.fixture(scope="module")
def joint(tree):
    assert main(flags(tree, tree / "run")) == 0
    return tree / "run"


@pytest.fixture(scope="module")
def frozen(tree):
    assert main(flags(tree, tree / "frozen", "--freeze-identity")) == 0
    return tree / "frozen"


def metrics(out):
    varying = ("seconds", "time", "images_per_second", "memory")
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in varying} for line in lines]


def test_the_posed_vertices_train_the_identity(tree, tmp_path):
    """Without the neutral term, gradients reach ArcFace's last stage and the mapping network."""
    task = make_joint_task(config(tree, tmp_path, neutral_weight=0.0), identity_of(tree), ALONE)
    stage = task.stages[0]
    task.begin_stage(stage)
    data = task.data(stage)
    task.loss(task.model, data.read(data.plan.global_batch(0, {})), stage).means["loss"].backward()
    moving = {name for name, p in task.network.named_parameters() if p.grad is not None}
    for part in ("arcface.layer4.", "arcface.bn2.", "arcface.fc.", "regressor."):
        own = [p for n, p in task.network.named_parameters() if n.startswith(f"identity.{part}")]
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in own), part
    assert not any(name.startswith("identity.arcface.layer3") for name in moving)
    assert "identity.arcface.conv1.weight" not in moving


def test_people_whom_nobody_measured_do_not_train_it(tree, tmp_path):
    task = make_joint_task(
        config(tree, tmp_path, data=(tree / "photos",)), identity_of(tree), ALONE
    )
    stage = task.stages[0]
    task.begin_stage(stage)
    data = task.data(stage)
    found = task.loss(task.model, data.read(data.plan.global_batch(0, {})), stage).means
    found["loss"].backward()
    assert float(found["neutral"]) == 0
    gradients = [p.grad for p in task.network.identity.parameters() if p.grad is not None]
    assert all(float(gradient.abs().max()) == 0 for gradient in gradients)
    assert task.network.expression.branch.heads["expression"].bias.grad.abs().max() > 0


def test_the_run_is_a_pack_with_both_networks(tree, joint):
    pack = load_pack(joint)
    start, now = (load_file(f / "model.safetensors") for f in (identity_of(tree), pack.identity))
    assert torch.equal(now["arcface.layer3.0.conv1.weight"], start["arcface.layer3.0.conv1.weight"])
    assert torch.equal(now["arcface.bn1.running_mean"], start["arcface.bn1.running_mean"])
    for name in ("arcface.layer4.0.conv1.weight", "regressor.output.weight"):
        assert not torch.equal(now[name], start[name]), name
    assert read_identity_config(pack.identity).trained_jointly
    card = (joint / "README.md").read_text()
    assert "trained jointly with the expression branch" in card
    assert "Samples without a card in coma" in card
    lines = [line for line in metrics(joint) if "val_neutral_mm" in line]
    assert lines[0]["start_val_neutral_mm"] == lines[-1]["start_val_neutral_mm"]
    assert lines[-1]["val_data_neutral_mm"] != lines[-1]["start_val_data_neutral_mm"]
    reconstructor = Reconstructor.load(joint, fit="none")
    image = load_image(EXAMPLE)
    aligned = reconstructor.align(image, reconstructor.detect(image)[:1])
    with torch.no_grad():
        shape = load_identity_network(pack.identity)(aligned.arcface).shape
    assert torch.equal(reconstructor.identity_of(aligned), shape)


def test_a_frozen_identity_gives_its_own_neutral_mesh_to_the_last_bit(tree, frozen):
    before, after = (Reconstructor.load(folder) for folder in (tree / "pack", frozen))
    image = load_image(EXAMPLE)
    aligned = before.align(image, before.detect(image)[:1])
    decoder = HeadDecoder(region_head())
    meshes = []
    for one in (before, after):
        found = one.estimator(aligned, one.identity_of(aligned)).parameters.head
        with torch.no_grad():
            meshes.append(decoder(in_pose(found, "neutral")).vertices)
    assert torch.equal(*meshes)
    names = ("config.json", "model.safetensors")
    for name in names:
        assert (frozen / "identity" / name).read_bytes() == (identity_of(tree) / name).read_bytes()
    assert "was kept: neutral meshes equal its own" in (frozen / "README.md").read_text()


@pytest.mark.slow
def test_a_stopped_joint_run_goes_on_exactly(tree, joint, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(joint, out, symlinks=True)
    shutil.rmtree(checkpoints(out)[0])
    shutil.rmtree(out / "model")
    assert main(flags(tree, out)) == 0
    assert metrics(out) == metrics(joint)
    for part in ("identity", "expression"):
        ours, theirs = (load_file(o / "model" / part / "model.safetensors") for o in (out, joint))
        assert all(torch.equal(ours[name], value) for name, value in theirs.items()), part
    assert main(flags(tree, out, "--identity-rate", "0.5")) == 2


def assert_same_run(out, alone):
    """Up to rounding: sums are taken in another order."""
    for two, one in zip(metrics(out), metrics(alone), strict=True):
        for name in ("loss", "posed_mm", "neutral", "points", "grad_norm"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), (one["step"], name)
    for part, names in (
        ("identity", ("arcface.features.running_mean", "regressor.output.weight")),
        ("expression", ("branch.heads.expression.weight", "branch.projections.0.weight")),
    ):
        ours, theirs = (load_file(o / "model" / part / "model.safetensors") for o in (out, alone))
        for name in names:
            change = (ours[name].float() - theirs[name].float()).norm()
            assert change <= 0.01 * theirs[name].float().norm(), name


@pytest.fixture(scope="module")
def alone(tree):
    assert run(tree, tree / "alone", 2) == 0
    return tree / "alone"


@pytest.mark.slow
def test_two_processes_are_one(tree, alone, tmp_path):
    """With labels in 3D for half of the crops, however ranks share them."""
    processes = start_two(SCRIPT, tree, tmp_path / "run", 2, 0)
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.slow
def test_two_processes_go_on_after_one_was_killed(tree, alone, tmp_path):
    out = tmp_path / "run"
    survivor, victim = start_two(SCRIPT, tree, out, 2, 1.0)
    wait_until(lambda: bool(checkpoints(out)), survivor)
    victim.kill()
    said = survivor.communicate()
    assert survivor.returncode == 2, said
    assert "Traceback" not in said
    assert not (out / "model").exists()
    processes = start_two(SCRIPT, tree, out, 2, 0)
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert_same_run(out, alone)


def test_packs_of_it_can_be_made_and_say_which_they_are(tree, joint, tmp_path):
    out = tmp_path / "mine"
    parts = ["--identity", joint / "model/identity", "--expression", joint / "model/expression"]
    assert main([str(w) for w in ("pack", out, *parts, "--head", tree / "head")]) == 0
    assert "trained jointly with the expression branch" in (out / "README.md").read_text()
    assert load_pack(out).expression == out / "expression"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--identity", "nowhere"], "`mica-ext import PATH/mica.tar` makes MICA's"),
        (["--identity", "auto"], "has none; make one with `mica-ext import mica.tar`"),
        (["--head", "anthro"], "its labels belong to the head"),
        (["--identity-rate", "0"], "--identity-rate"),
    ],
)
def test_what_cannot_be_trained_jointly_is_one_line(tree, tmp_path, capsys, more, words):
    assert main(flags(tree, tmp_path / "out", *more)) == 2
    assert words in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_presets_are_classes_of_options():
    assert Table8Config(out=EXAMPLE).joint
    assert not Table8Config(out=EXAMPLE, freeze_identity=True).joint
    assert not ExpressionTrainingConfig(out=EXAMPLE).joint
