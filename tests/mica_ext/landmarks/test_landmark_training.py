"""Training of the landmark network: it learns, resumes exactly, and runs on two processes."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.landmark_training import plain_faces, small, train
from helpers.processes import start, start_two, wait_until
from safetensors.torch import load_file

from mica_ext.errors import UserError
from mica_ext.landmarks.distillation.data import CropReader, split_faces
from mica_ext.landmarks.distillation.losses import Targets, landmark_loss
from mica_ext.landmarks.distillation.train import LandmarkTraining, TrainedNetwork
from mica_ext.landmarks.student.network import INPUT, WHOLE
from pacofr.engine.batches.sampling import RankBatch
from pacofr.engine.checkpoint import checkpoints, read_progress
from pacofr.engine.distributed import World
from pacofr.errors import UserError as EngineError

SCRIPT = Path(__file__).parents[2] / "helpers" / "landmark_training.py"


def metrics(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["images_per_second"], row["seconds"]
    return rows


def weights(out):
    return load_file(out / "model/model.safetensors")


@pytest.fixture(scope="module")
def faces():
    return split_faces(plain_faces(8), plain_faces(3, seed=1), holdout=2, seed=0)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train(small(out)) == 0
    return out


def test_the_average_after_all_stages_is_published(uninterrupted):
    rows = metrics(uninterrupted)
    assert [row["stage"] for row in rows] == [
        name for name in ("whole", "parts", "confidence") for _ in range(2)
    ]
    assert [row["step"] for row in rows if "held_out" in row] == [2, 4, 6]
    average = load_file(uninterrupted / "last/training/ema.safetensors")
    for name, value in weights(uninterrupted).items():
        assert torch.equal(value, average[f"network.{name}"].half()), name
    about = json.loads((uninterrupted / "model/config.json").read_text())
    assert about["score"].startswith(f"{rows[-1]['held_out']:.2f} % of the eye distance")
    assert "--whole-steps 2 --parts-steps 2 --confidence-steps 2" in about["command"]
    assert str(uninterrupted) not in json.dumps(about)


def test_kill_9_in_every_stage_and_resume_give_the_same_weights(tmp_path, uninterrupted):
    """Killed in the first step after a checkpoint of each of the three stages; two processes make
    the crops of the last step."""
    out = tmp_path / "run"
    file = out / "metrics.jsonl"
    for after in (1, 3, 5):
        process = start(SCRIPT, out, "--pause-after", after)
        wait_until(lambda n=after: file.exists() and file.read_text().count("\n") >= n, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert [read_progress(c).step for c in checkpoints(out)] == list(range(after - 1, 0, -2))
    assert train(small(out, workers=2)) == 0
    assert metrics(out) == metrics(uninterrupted)
    for name, value in weights(out).items():
        assert torch.equal(value, weights(uninterrupted)[name]), name


def test_two_processes_give_the_numbers_of_one(tmp_path, uninterrupted):
    """Up to rounding, which bf16 makes coarse: batch statistics are of the whole batch."""
    processes = start_two(SCRIPT, tmp_path)
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    rows = list(zip(metrics(tmp_path), metrics(uninterrupted), strict=True))
    assert len(rows) == 6
    # the last stage begins with maps solved on few faces, which enlarges roundings
    for two, one in rows[:4]:
        assert two["loss"] == pytest.approx(one["loss"], rel=0.02)
    # after two steps; later, Adam has turned roundings into steps of other signs
    ours, theirs = (
        load_file(checkpoints(out)[-1] / "model/model.safetensors")
        for out in (tmp_path, uninterrupted)
    )
    for name in ("whole.stem_norm.running_mean", "whole.stem_norm.running_var"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0.03, atol=4e-3, msg=name)


def test_other_options_than_the_runs_are_refused(uninterrupted):
    before = (uninterrupted / "model" / "config.json").read_text()
    for changes, line in (
        ({"seed": 1}, r"another configuration \(.*seed: 0 there, 1 here"),
        ({"learning_rate": 1e-3}, r"\(learning_rate: 0.002 there, 0.001 here\)"),
        ({"holdout": 1}, r"\(holdout: 2 there, 1 here\)"),
    ):
        with pytest.raises(EngineError, match=line) as caught:
            train(small(uninterrupted, **changes))
        assert "\n" not in str(caught.value)
    assert train(small(uninterrupted, save_minutes=1.0, threads=2)) == 0
    assert (uninterrupted / "model" / "config.json").read_text() == before


def test_training_goes_on_from_given_weights(uninterrupted, tmp_path):
    """Steps at a vanishing rate leave the given weights as they were, but for batch statistics."""
    given = uninterrupted / "model"
    options = {"init_from": given, "whole_steps": 0, "confidence_steps": 0, "learning_rate": 1e-9}
    assert train(small(tmp_path / "on", **options)) == 0
    about = json.loads((tmp_path / "on/model/config.json").read_text())
    digest = json.loads((given / "config.json").read_text())["sha256"]
    assert f"--init-from WEIGHTS_{digest[:12]} --whole-steps 0" in about["command"]
    before, after = weights(uninterrupted), weights(tmp_path / "on")
    for name, value in before.items():
        if "running" not in name:
            torch.testing.assert_close(after[name], value, rtol=2e-3, atol=1e-6, msg=name)
    with pytest.raises(EngineError, match=rf"\(init_from: {digest} there, None here\)"):
        train(small(tmp_path / "on", **options | {"init_from": None}))


def test_weights_to_go_on_from_must_be_such(tmp_path):
    with pytest.raises(UserError, match="expected landmark weights, found no such file"):
        train(small(tmp_path / "on", init_from=tmp_path))
    assert not (tmp_path / "on" / "checkpoints").exists()


def test_sharp_faces_show_detail():
    """Those whose points span more than 115 pixels; all, where there are none."""
    store = plain_faces(6)
    large = np.array([0, 3])
    store.points[large] *= 2
    faces = split_faces(store, plain_faces(3, seed=1), holdout=0, seed=0)
    assert faces.sharp.tolist() == large.tolist()
    assert split_faces(plain_faces(6), plain_faces(3), holdout=0, seed=0).sharp.tolist() == [
        *range(6)
    ]


def test_crops_follow_from_seed_source_epoch_and_index(faces):
    def crop(seed=0, epoch=2, index=1, source=0):
        alone = RankBatch(*(np.array([value]) for value in (source, epoch, index)))
        return CropReader(faces, WHOLE, seed)(alone).crops[0]

    among = RankBatch(np.array([2, 0, 1]), np.array([0, 2, 2]), np.array([0, 1, 0]))
    batch = CropReader(faces, WHOLE, 0)(among)
    assert torch.equal(batch.crops[1], crop())
    assert batch.crops.shape == (3, WHOLE, WHOLE, 3)
    for other in (crop(seed=1), crop(epoch=3), crop(index=2), crop(source=1)):
        assert not torch.equal(other, crop())


def test_faces_are_held_out_of_training(faces):
    assert len(faces.held_out) == 2
    assert not set(faces.held_out) & {*faces.common, *faces.rare}
    assert len(faces.common) == 6
    assert set(faces.rare) <= set(faces.common)


def test_an_epoch_covers_every_face_and_every_kind(faces, tmp_path):
    training = LandmarkTraining(small(tmp_path), faces, World(0, 1, torch.device("cpu")))
    plan = training.data(training.stages[0]).plan
    assert plan.batch_size == 8
    batches = [plan.global_batch(step, {}) for step in range(3)]
    sources = np.concatenate([batch.source for batch in batches])
    index = np.concatenate([batch.index for batch in batches])
    assert np.bincount(sources).tolist() == [15, 3, 3, 3]
    assert sorted(index[sources == 0][:6]) == [*range(6)]


@pytest.mark.parametrize("size", [WHOLE, INPUT])
def test_the_loss_leads_to_the_points(faces, size):
    rows = RankBatch(np.zeros(3, int), np.zeros(3, int), np.arange(3))
    batch = CropReader(faces, size, 0)(rows)
    torch.manual_seed(0)
    network = TrainedNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16):
            output = network(batch.crops)
        loss = landmark_loss(output, Targets(*batch[1:])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_rate_warms_up_stays_and_fades_in_each_stage(faces, tmp_path):
    config = small(tmp_path, whole_steps=600, parts_steps=400, confidence_steps=100)
    training = LandmarkTraining(config, faces, World(0, 1, torch.device("cpu")))
    rates = [training.learning_rate(step) for step in range(1100)]
    assert rates[0] == pytest.approx(2e-3 / 200)
    assert rates[200:301] == [2e-3] * 101
    assert rates[450] == pytest.approx(1e-3)
    assert rates[599] == pytest.approx(2e-5)
    assert rates[600] == pytest.approx(2e-3 / 200)
    assert rates[800] == 2e-3
    assert rates[999] == pytest.approx(2e-5)


@pytest.mark.parametrize(
    ("number", "trained"),
    [
        (0, {"whole"}),
        (1, {"whole", "eye", "mouth", "patch_gain"}),
        (2, {"confidence", "whole.confidence"}),
    ],
)
def test_a_stage_trains_its_own_modules(faces, tmp_path, number, trained):
    task = LandmarkTraining(small(tmp_path), faces, World(0, 1, torch.device("cpu")))
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    stage = task.stages[number]
    optimizer = task.make_optimizer()
    task.begin_stage(stage)
    batch = task.data(stage).read(RankBatch(np.zeros(8, int), np.zeros(8, int), np.arange(8) % 6))
    for _ in range(2):
        optimizer.zero_grad()
        task.loss(task.model, batch, stage).means["loss"].backward()
        optimizer.step()
    changed = {
        name.removeprefix("network.")
        for name, value in task.model.state_dict().items()
        if not value.equal(before[name])
    }
    assert all(name.startswith(tuple(trained)) for name in changed)
    assert all(any(name.startswith(module) for name in changed) for module in trained)
