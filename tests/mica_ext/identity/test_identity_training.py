"""`mica-ext train-identity` on MICA's data layout: what is trained, by which loss, how exactly."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.identity_training import SETS, options, region_head, run, write_tree
from helpers.processes import start_two
from safetensors.torch import load_file

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.cli import main
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.data.mica_layout import read_actors
from mica_ext.identity.config import IdentityTrainingConfig
from mica_ext.identity.training.best_model import Smoothed
from mica_ext.identity.training.people import People, PeopleReader
from mica_ext.identity.training.train import make_task, set_trained, train
from mica_ext.identity.training.vertex_loss import VertexLoss, region_weights
from mica_ext.identity.weights import load_identity_network
from mica_ext.reconstruct import Reconstructor
from pacofr.engine.batches.sampling import RankBatch
from pacofr.engine.checkpoint import checkpoints
from pacofr.engine.distributed import World
from pacofr.errors import UserError as EngineError
from pacofr.images import load_image

SCRIPT = Path(__file__).parents[2] / "helpers" / "identity_training.py"
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("mica"))


@pytest.fixture(scope="module")
def trained(tree, tmp_path_factory):
    """A run of two steps."""
    out = tmp_path_factory.mktemp("run") / "out"
    assert run(tree, out) == 0
    return out


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def metrics(out):
    lines = (out / "metrics.jsonl").read_text().splitlines()
    varying = ("seconds", "time", "images_per_second", "memory")
    return [{k: v for k, v in json.loads(line).items() if k not in varying} for line in lines]


def config(tree, out, **changes):
    return IdentityTrainingConfig(**(options(tree, out) | changes))


def neutral(shapes):
    head = region_head()
    parameters = HeadParameters.zeros(head, len(shapes))._replace(shape=shapes)
    return HeadDecoder(head)(parameters).vertices


def test_the_loss_is_the_weighted_l1_of_neutral_vertices_in_millimetres():
    generator = torch.Generator().manual_seed(0)
    found, truth = torch.randn(2, 3, 300, generator=generator)
    factors = torch.ones(204)
    factors[:16] = factors[120:140] = 0.01
    factors[60:120] = 150.0  # the face comes last: vertices 118 and 119 are of an eyeball as well
    torch.testing.assert_close(region_weights(region_head(), "mica"), factors)
    expected = ((neutral(found) - neutral(truth)).abs() * factors[None, :, None]).mean() * 1000
    loss = VertexLoss(region_head(), "mica")(found, truth)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    plain = VertexLoss(region_head(), "uniform")(found, truth)
    torch.testing.assert_close(
        plain, (neutral(found) - neutral(truth)).abs().mean() * 1000, rtol=1e-4, atol=0
    )


def test_two_steps_are_those_of_a_plain_loop(tree, trained):
    """Written from MICA's description: AdamW, two rates, the last stage in training mode."""
    network = load_identity_network(tree / "init")
    arcface = network.arcface
    last = [arcface.layer4, arcface.bn2, arcface.fc, arcface.features]
    for module in last:
        module.train()
    arcface.features.weight.requires_grad_(False)
    parameters = [p for module in last for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": network.regressor.parameters(), "lr": 1e-3},
            {"params": parameters, "lr": 1e-4},
        ],
        weight_decay=2e-4,
    )
    task = make_task(config(tree, trained), ALONE)
    data = task.data(task.stages[0])
    factors = region_weights(region_head(), "mica")[None, :, None]
    for step in range(2):
        batch = data.read(data.plan.global_batch(step, {}))
        assert batch.crops.shape == (3, 2, 3, 112, 112)
        optimizer.zero_grad()
        found = network(batch.crops.flatten(0, 1)).shape
        difference = neutral(found) - neutral(batch.shape.repeat_interleave(2, 0))
        loss = (difference.abs() * factors).mean() * 1000
        loss.backward()
        optimizer.step()
        assert metrics(trained)[step]["loss"] == pytest.approx(float(loss.detach()), rel=1e-3)
    for name in ("regressor.output.weight", "arcface.layer4.0.bn3.running_mean"):
        mine = network.state_dict()[name]
        torch.testing.assert_close(weights(trained)[name], mine, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("choice", "resting"),
    [
        ("mica", "stem"),
        ("mapping", "arcface"),
        ("all", ""),
    ],
)
def test_what_rests_does_not_change_not_even_its_batch_statistics(tree, choice, resting):
    network = load_identity_network(tree / "init")
    set_trained(network, choice)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    torch.manual_seed(0)
    network(torch.randn(2, 3, 112, 112)).shape.square().sum().backward()
    optimizer.step()
    changed = {
        name for name, value in network.state_dict().items() if not value.equal(before[name])
    }
    last = tuple(f"arcface.{part}." for part in ("layer4", "bn2", "fc", "features"))
    moving = {
        "stem": ("regressor.", *last),
        "arcface": ("regressor.",),
        "": ("regressor.", "arcface."),
    }[resting]
    assert changed
    assert all(name.startswith(moving) for name in changed)
    assert all(any(name.startswith(part) for name in changed) for part in moving)
    assert "arcface.features.weight" not in changed
    assert ("arcface.bn1.running_mean" in changed) == (choice == "all")
    assert ("arcface.bn2.running_mean" in changed) == (choice != "mapping")


def test_photos_of_a_step_are_different_ones_of_the_same_person(tree):
    people = People.load(read_actors(tree / "mica", ["STIRLING"], None), photos=2)
    rows = RankBatch(np.zeros(2, int), np.array([0, 0]), np.array([0, 1]))
    batch = PeopleReader(people, 2, seed=0)(rows)
    assert not torch.equal(batch.crops[0, 0], batch.crops[0, 1])
    alone = PeopleReader(people, 2, seed=0)(RankBatch(*(row[1:] for row in rows)))
    assert torch.equal(alone.crops[0], batch.crops[1])
    files = [np.load(path) for path in people.actors[1].crops]
    for crop in batch.crops[1].numpy():
        assert any(np.array_equal(crop, file) for file in files)
    fit = np.load(people.actors[1].fit)["betas"][:300].astype(np.float32)
    np.testing.assert_array_equal(batch.shape[1].numpy(), fit)


def test_validation_is_the_loss_on_other_people(tree, trained):
    network = load_identity_network(trained / "model")
    actors = read_actors(tree / "mica", ["FLORENCE"], tree / "image_paths")
    assert len(actors) == SETS["FLORENCE"][0]
    losses, distances = [], []
    for actor in actors:
        crops = torch.stack([torch.from_numpy(np.load(path)) for path in actor.crops])
        truth = torch.from_numpy(np.load(actor.fit)["betas"][None, :300].astype(np.float32))
        with torch.no_grad():
            difference = neutral(network(crops).shape) - neutral(truth)
        factors = region_weights(region_head(), "mica")[None, :, None]
        losses.append(float((difference.abs() * factors).mean() * 1000))
        distances.append(float(difference.norm(dim=-1).mean() * 1000))
    measured = [line for line in metrics(trained) if "val_loss" in line]
    assert [line["step"] for line in measured] == [1, 2]
    assert measured[-1]["val_loss"] == pytest.approx(np.mean(losses), rel=1e-3)
    assert measured[-1]["val_distance_mm"] == pytest.approx(np.mean(distances), rel=1e-3)


def test_the_best_weights_are_those_of_the_lowest_running_mean(tree, trained):
    """MICA's validator: losses averaged over the last 7 validations."""
    losses = [line["val_loss"] for line in metrics(trained)]
    means = [losses[0], (losses[0] + losses[1]) / 2]
    step = 1 + int(means[1] < means[0])
    record = json.loads((trained / "best" / "best.json").read_text())
    assert record == {"step": step, "val_loss": pytest.approx(means[step - 1])}
    kept = load_file(trained / "best" / "model" / "model.safetensors")
    (wanted,) = (c for c in checkpoints(trained) if c.name.endswith(f"{step:08d}"))
    assert all(torch.equal(kept[name], value) for name, value in weights(wanted).items())
    noisy = (5.0, 4.0, 1.0, 6.0, 6.0, 6.0, 6.0, 6.0, 0.5)
    chosen = [end for end in range(1, 10) if Smoothed(noisy[:end]).is_best]
    assert chosen == [1, 2, 3]  # the last value is the lowest, its mean of seven is not


@pytest.mark.parametrize("publish", ["best", "last"])
def test_what_is_published_is_asked_for(tree, trained, tmp_path, publish):
    out = tmp_path / "out"
    shutil.copytree(trained, out, symlinks=True)
    shutil.rmtree(out / "model")
    given = config(tree, out, publish=publish)
    # as if the first validation had been the best
    shutil.copytree(checkpoints(out)[1] / "model", out / "best" / "model", dirs_exist_ok=True)
    assert train(given) == 0
    wanted = weights(checkpoints(out)[publish == "best"])
    assert all(torch.equal(weights(out)[name], value) for name, value in wanted.items())


def test_a_stopped_run_goes_on_exactly(tree, trained, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained, out, symlinks=True)
    shutil.rmtree(checkpoints(out)[0])
    shutil.rmtree(out / "model")
    assert run(tree, out) == 0
    assert metrics(out) == metrics(trained)
    for name, value in weights(out).items():
        assert torch.equal(value, weights(trained)[name]), name


def test_another_configuration_or_other_people_are_refused(tree, trained, tmp_path):
    for changes, line in (
        ({"learning_rate": 1e-4}, "learning_rate: 0.001 there"),
        ({"data_sets": ("LYHM",)}, "people: "),
        ({"regions": "uniform"}, "regions: mica there"),
    ):
        with pytest.raises(EngineError, match=line):
            run(tree, trained, **changes)
    moved = shutil.copytree(tree, tmp_path / "moved")
    assert run(moved, trained, validate_every=2) == 0


def test_two_processes_are_one(tree, trained, tmp_path):
    """One batch of three people over two ranks, with the batch statistics of all of them."""
    processes = start_two(SCRIPT, tree, tmp_path)
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    (two,), (one, _) = metrics(tmp_path), metrics(trained)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    ours, theirs = weights(tmp_path), weights(checkpoints(trained)[1])
    for name in (
        "arcface.bn1.running_mean",
        "arcface.bn2.running_var",
        "arcface.features.running_mean",
        "regressor.output.bias",
    ):
        change = (ours[name] - theirs[name]).norm()
        assert change <= 0.01 * theirs[name].norm(), name


def test_the_run_is_a_pack_whose_identity_reconstruct_takes(tree, tmp_path, capsys):
    flags = ["--trained", "mapping", "--validation"]
    for name, value in (options(tree, tmp_path / "mine") | {"steps": 1}).items():
        if name != "root":
            values = value if isinstance(value, tuple) else (value,)
            flags += [f"--{name.replace('_', '-')}", *map(str, values)]
    assert main(["train-identity", str(tree / "mica"), *flags]) == 0
    assert f"--model {tmp_path / 'mine'}" in capsys.readouterr().out
    reconstructor = Reconstructor.load(tmp_path / "mine", identity="mica")
    image = load_image(EXAMPLE)
    face = reconstructor(image)
    assert face.provenance.identity is not None
    assert face.provenance.identity.name == "mica-trained"
    shape = face.parameters.head.shape
    crop = reconstructor.align(image, [face.face]).arcface
    with torch.no_grad():
        last = load_identity_network(tmp_path / "mine" / "model")(crop).shape
        first = load_identity_network(tree / "init")(crop).shape
    torch.testing.assert_close(shape, last, rtol=0, atol=1e-4)
    assert (shape - first).abs().max() > 1e-3
