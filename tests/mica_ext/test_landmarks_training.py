"""Training of the landmark network: it learns, and a killed run goes on as if it had not been."""

import shutil

import cv2
import numpy as np
import pytest
import torch

from mica_ext.errors import UserError
from mica_ext.landmarks import train as landmark_training
from mica_ext.landmarks.annotated_photos import read_labelled
from mica_ext.landmarks.config import LandmarkTrainingConfig
from mica_ext.landmarks.network import LandmarkNetwork
from mica_ext.landmarks.samples import sample_crop
from mica_ext.landmarks.train import as_batch, learning_rate, loss_of, step_crops, train
from mica_ext.landmarks.weights import load_landmark_network


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


def weights(out):
    return load_landmark_network(out / "model").state_dict()


def test_a_killed_run_goes_on_to_the_same_weights(photos, tmp_path, monkeypatch):
    train(small(photos, tmp_path / "whole"))
    steps = []

    def killed_after_three(sources, step, seed):
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return step_crops(sources, step, seed)

    monkeypatch.setattr(landmark_training, "step_crops", killed_after_three)
    with pytest.raises(KeyboardInterrupt):
        train(small(photos, tmp_path / "killed"))
    assert not (tmp_path / "killed" / "model").exists()
    train(small(photos, tmp_path / "killed"))
    assert steps == [0, 1, 2, 3, 2, 3, 4]  # on from the checkpoint after two of five steps
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, value in whole.items():
        assert torch.equal(value, killed[name]), name


def test_a_finished_run_trains_no_further(photos, tmp_path, monkeypatch):
    train(small(photos, tmp_path, photo_epochs=1))
    before = weights(tmp_path)

    def never(*_):
        raise AssertionError("trained on")

    monkeypatch.setattr(landmark_training, "step_crops", never)
    train(small(photos, tmp_path, photo_epochs=1))
    assert torch.equal(before["maps.weight"], weights(tmp_path)["maps.weight"])


def test_other_options_than_the_runs_are_refused(photos, tmp_path):
    train(small(photos, tmp_path, photo_epochs=1))
    before = (tmp_path / "model" / "config.json").read_text()
    for changes, line in (
        ({"seed": 1}, "began with --seed 0, now it is 1: give --seed 0"),
        ({"learning_rate": 1e-3}, "began with --learning-rate 0.002, now it is 0.001"),
        ({"holdout": 1}, "began with --holdout 0"),
    ):
        with pytest.raises(UserError, match=line):
            train(small(photos, tmp_path, **({"photo_epochs": 1} | changes)))
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "0.pts").unlink()
    with pytest.raises(UserError, match="began with 6 photos to train on, .* gives 5"):
        train(small(fewer, tmp_path, photo_epochs=1))
    assert (tmp_path / "model" / "config.json").read_text() == before
    train(small(photos, tmp_path, photo_epochs=1, save_every=3))  # where and how often is free


def test_crops_depend_on_seed_and_step_and_cover_every_photo(photos, monkeypatch):
    found = [photo for _, photo in read_labelled(photos)]
    source = landmark_training.Source(photos=found, per_batch=4, salt=1)
    first, again = (step_crops([source], 7, 0)[0] for _ in range(2))
    assert (first.view == again.view).all()
    assert not (first.view == step_crops([source], 7, 1)[0].view).all()
    drawn = []

    def recorded(photos, index, rng, **options):
        drawn.append(index)
        return sample_crop(photos, index, rng, **options)

    monkeypatch.setattr(landmark_training, "sample_crop", recorded)
    for step in range(3):  # 12 crops: six photos, twice
        step_crops([source], step, 0)
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == [*range(6)]


def test_the_loss_leads_to_the_points(photos):
    found = [photo for _, photo in read_labelled(photos)]
    views, points = as_batch([sample_crop(found, i, np.random.default_rng(i)) for i in range(6)])
    torch.manual_seed(0)
    network = LandmarkNetwork()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        loss = loss_of(network, views, points)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_the_schedule_warms_up_and_fades():
    rates = [learning_rate(1.0, step, 1000) for step in range(1000)]
    assert rates[0] < 0.02
    assert 0.9 < max(rates) <= 1.0
    assert rates[-1] < 0.02


def test_more_held_out_than_there_are_photos_is_refused(photos, tmp_path):
    with pytest.raises(UserError, match="--holdout"):
        train(small(photos, tmp_path / "run", holdout=6))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_rendered_heads_join(photos, tmp_path):
    train(small(photos, tmp_path, photo_epochs=1, mixed_steps=2, heads=3, batch=8))
    load_landmark_network(tmp_path / "model")
    assert (tmp_path / "mixed.pt").exists()
