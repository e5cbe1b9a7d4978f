"""Training of the landmark network: it learns, resumes exactly, and runs on two processes."""

import json
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.processes import start, start_two, wait_until
from safetensors.torch import load_file

from mica_ext.errors import UserError
from mica_ext.landmarks.annotated_photos import read_labelled
from mica_ext.landmarks.config import LandmarkTrainingConfig
from mica_ext.landmarks.network import LandmarkNetwork
from mica_ext.landmarks.samples import sample_crop
from mica_ext.landmarks.train import (
    CropReader,
    CropSource,
    LandmarkTraining,
    landmark_loss,
    learning_rate,
    train,
)
from mica_ext.landmarks.weights import load_landmark_network
from pacofr.engine.checkpoint import checkpoints, read_progress
from pacofr.engine.distributed import World
from pacofr.engine.sampling import RankBatch
from pacofr.errors import UserError as EngineError

SCRIPT = Path(__file__).parents[1] / "helpers" / "landmark_training.py"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six plain faces: an oval, two eyes and a mouth, with 68 points on them."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(6):
        image = np.full((160, 160, 3), int(rng.integers(60, 200)), np.uint8)
        middle = rng.uniform(75, 85, 2)
        around = np.linspace(0, 2 * np.pi, 17)
        points = np.empty((68, 2))
        points[:17] = middle + 45 * np.stack([np.cos(around), np.sin(around)], 1)
        points[17:] = middle + rng.uniform(-20, 20, (51, 2))
        points[36:42], points[42:48] = middle + [-18, -10], middle + [18, -10]
        points[[48, 54]] = middle + [[-14, 22], [14, 22]]
        cv2.circle(image, [round(v) for v in middle], 45, (210, 180, 170), -1)
        for spot in points[[36, 42, 48, 54]]:
            cv2.circle(image, [round(v) for v in spot], 4, (20, 20, 40), -1)
        cv2.imwrite(str(folder / f"{number}.jpg"), image)
        rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
        (folder / f"{number}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
    return folder


def small(photos, out, **changes):
    options = {"photo_epochs": 7, "mixed_steps": 0, "batch": 8, "holdout": 0, "save_every": 2}
    return LandmarkTrainingConfig(helen=photos, out=out, **(options | changes))


def task(config):
    found = [photo for _, photo in read_labelled(config.helen)]
    return LandmarkTraining(config, found, World(0, 1, torch.device("cpu")))


def metrics(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["images_per_second"], row["seconds"]
    return rows


@pytest.fixture(scope="module")
def uninterrupted(photos, tmp_path_factory):
    """Five steps on photos, two on photos and rendered heads."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train(small(photos, out, mixed_steps=2, heads=2, holdout=1)) == 0
    return out


def assert_same_end(out, uninterrupted):
    assert metrics(out) == metrics(uninterrupted)
    for file in ("config.json", "model.safetensors"):
        assert (out / "model" / file).read_bytes() == (uninterrupted / "model" / file).read_bytes()


def test_the_average_of_both_stages_is_published(uninterrupted):
    rows = metrics(uninterrupted)
    assert [row["phase"] for row in rows] == ["photos"] * 4 + ["mixed"] * 2
    assert [row["step"] for row in rows if "held_out" in row] == [2, 4, 6]
    published = load_landmark_network(uninterrupted / "model").state_dict()
    average = load_file(uninterrupted / "last/training/ema.safetensors")
    for name, value in published.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, average[f"network.{name}"].half().float()), name
    about = json.loads((uninterrupted / "model/config.json").read_text())
    assert about["score"] == f"{rows[-1]['held_out']:.2f} % on 1 photos held out"
    assert str(uninterrupted) not in json.dumps(about)


@pytest.mark.parametrize("after", [3, 5])
def test_kill_9_and_resume_give_the_same_weights(photos, tmp_path, uninterrupted, after):
    """In either stage."""
    out = tmp_path / "run"
    process = start(SCRIPT, photos, out, "--pause-after", after)
    file = out / "metrics.jsonl"
    wait_until(lambda: file.exists() and file.read_text().count("\n") >= after, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert read_progress(checkpoints(out)[0]).step == after - after % 2
    assert not (out / "model").exists()
    assert train(small(photos, out, mixed_steps=2, heads=2, holdout=1)) == 0
    assert_same_end(out, uninterrupted)


def test_two_processes_give_the_numbers_of_one(photos, tmp_path, uninterrupted):
    """Up to rounding, which bf16 makes coarse: batch statistics are of the whole batch."""
    processes = start_two(SCRIPT, photos, tmp_path)
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    for two, one in zip(metrics(tmp_path), metrics(uninterrupted), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=0.01)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=0.1)
    ours = load_landmark_network(tmp_path / "model").state_dict()
    theirs = load_landmark_network(uninterrupted / "model").state_dict()
    for name in ("stem_norm.running_mean", "stem_norm.running_var", "merge_fine.first_norm.bias"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0.02, atol=2e-3, msg=name)


def test_a_finished_run_trains_no_further(photos, tmp_path):
    train(small(photos, tmp_path, photo_epochs=2))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    changed = (tmp_path / "last/training/state.json").stat().st_mtime_ns
    assert train(small(photos, tmp_path, photo_epochs=2)) == 0
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert (tmp_path / "last/training/state.json").stat().st_mtime_ns == changed


def test_other_options_than_the_runs_are_refused(photos, tmp_path):
    train(small(photos, tmp_path, photo_epochs=1))
    before = (tmp_path / "model" / "config.json").read_text()
    for changes, line in (
        ({"seed": 1}, r"another configuration \(.*seed: 0 there, 1 here"),
        ({"learning_rate": 1e-3}, r"\(learning_rate: 0.002 there, 0.001 here\)"),
        ({"holdout": 1}, r"\(holdout: 0 there, 1 here; photos.count: 6 there, 5 here; photos.fing"),
    ):
        with pytest.raises(EngineError, match=line) as caught:
            train(small(photos, tmp_path, **({"photo_epochs": 1} | changes)))
        assert "\n" not in str(caught.value)
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    (other / "0.pts").write_text((other / "1.pts").read_text())
    with pytest.raises(EngineError, match=r"\(photos.fingerprint: \w+ there, \w+ here\)"):
        train(small(other, tmp_path, photo_epochs=1))
    assert (tmp_path / "model" / "config.json").read_text() == before
    assert train(small(photos, tmp_path, photo_epochs=1, save_every=3, threads=2)) == 0
    torch.set_num_threads(1)


def test_a_run_of_an_earlier_version_is_one_line(photos, tmp_path):
    (tmp_path / "photos.pt").write_bytes(b"written by torch.save")
    with pytest.raises(UserError, match="of an earlier version; give another --out"):
        train(small(photos, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["photos.pt"]


def test_crops_are_functions_of_seed_source_epoch_and_index(photos):
    found = [photo for _, photo in read_labelled(photos)]
    source = CropSource(photos=found, rng_stream=1)

    def view(seed=0, epoch=2, index=3, stream=1):
        other = CropSource(photos=found, rng_stream=stream)
        alone = RankBatch(*(np.array([value]) for value in (0, epoch, index)))
        return CropReader([other], seed)(alone).views[0]

    among = RankBatch(np.zeros(3, int), np.array([0, 2, 2]), np.array([5, 3, 1]))
    assert torch.equal(CropReader([source], 0)(among).views[1], view())
    for other in (view(seed=1), view(epoch=3), view(index=4), view(stream=2)):
        assert not torch.equal(other, view())


def test_an_epoch_covers_every_photo(photos, tmp_path):
    training = task(small(photos, tmp_path))
    plan = training.data(training.stages[0]).plan
    batches = [plan.global_batch(step, {}) for step in range(3)]  # 24 crops: six photos, 4 times
    index = np.concatenate([batch.index for batch in batches])
    for epoch in range(4):
        assert sorted(index[6 * epoch : 6 * epoch + 6]) == [*range(6)]


def test_the_loss_leads_to_the_points(photos):
    found = [photo for _, photo in read_labelled(photos)]
    crops = [sample_crop(found, i, np.random.default_rng(i)) for i in range(6)]
    views = torch.from_numpy(np.stack([crop.view for crop in crops])).permute(0, 3, 1, 2) / 255
    points = torch.from_numpy(np.stack([crop.points for crop in crops]))
    torch.manual_seed(0)
    network = LandmarkNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network.logits(views)
        loss = landmark_loss(network, logits, points)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_the_schedule_warms_up_and_fades():
    rates = [learning_rate(1.0, step, 1000) for step in range(1000)]
    assert rates[0] < 0.02
    assert 0.9 < max(rates) <= 1.0
    assert rates[-1] < 0.02


def test_each_stage_has_its_own_schedule(photos, tmp_path):
    training = task(small(photos, tmp_path, mixed_steps=300))
    first = training.stages[0].steps
    assert training.learning_rate(first - 1) < 2e-3 / 20
    assert training.learning_rate(first) == learning_rate(1.5e-3, 0, 300)
    assert training.learning_rate(first + 99) == learning_rate(1.5e-3, 99, 300)


def test_more_held_out_than_there_are_photos_is_refused(photos, tmp_path):
    with pytest.raises(UserError, match="--holdout"):
        train(small(photos, tmp_path / "run", holdout=6))
    assert not (tmp_path / "run").exists()
