"""Checkpoints: complete or absent, strict, exact, and readable by everybody."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from helpers.training_toy import NamedParts
from torch import nn

from pacofr.engine import checkpoint
from pacofr.engine.checkpoint import Progress, TrainingState, write_model
from pacofr.engine.device import rng_state, set_rng_state
from pacofr.engine.optimization import adamw
from pacofr.engine.optimization.ema import Ema
from pacofr.engine.tensor_files import load_weights
from pacofr.errors import UserError

CPU = torch.device("cpu")
WRITING = {
    "export": lambda folder, model: write_model(folder, model, {"width": 4}),
    "run_config": {"lr": 0.1, "model": {"width": 4}, "workers": 2},
}


def save(run, net, optimizer, step, *, keep=2, ema=None):
    return checkpoint.save_checkpoint(
        run, content(net, optimizer, step, ema=ema), keep=keep, **WRITING
    )


def content(net, optimizer, step, *, ema=None):
    state = TrainingState(net, optimizer, ema, Progress(step, step * 10, 1.5, 1))
    return checkpoint.checkpoint_content(state, rng_state(CPU)[None])


def load(folder, net, optimizer, ema=None):
    state = TrainingState(net, optimizer, ema, Progress(0, 0, 0.0, 1))
    return state, checkpoint.load_checkpoint(folder, state)


@pytest.fixture
def trained():
    net = NamedParts()
    optimizer = adamw.make_adamw(net, weight_decay=0.1)
    adamw.set_learning_rate(optimizer, 0.01)
    for number in range(3):
        optimizer.zero_grad()
        net(torch.full((2, 3), float(number))).square().backward()
        optimizer.step()
    return net, optimizer


def test_a_checkpoint_gives_everything_back(tmp_path, trained):
    net, optimizer = trained
    torch.manual_seed(5)
    folder = save(tmp_path, net, optimizer, 3)
    expected_draw = torch.rand(3)

    other = NamedParts()
    again = adamw.make_adamw(other, weight_decay=0.1)
    state, rng_states = load(folder, other, again)
    set_rng_state(rng_states[0], CPU)
    assert state.progress == Progress(3, 30, 1.5, 1)
    assert torch.equal(torch.rand(3), expected_draw)
    for model, opt in ((net, optimizer), (other, again)):  # one more step: equal to the last bit
        adamw.set_learning_rate(opt, 0.01)
        opt.zero_grad()
        model(torch.full((2, 3), 0.3)).square().backward()
        opt.step()
    for (name, a), (_, b) in zip(net.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_last_is_a_relative_link_and_old_ones_go(tmp_path, trained):
    run = tmp_path / "run"
    for step in (1, 2, 3):
        save(run, *trained, step, keep=2)
    assert [c.name for c in checkpoints_of(run)] == ["step_00000003", "step_00000002"]
    assert not os.path.isabs(os.readlink(run / "last"))
    moved = tmp_path / "moved"
    shutil.move(run, moved)
    assert json.loads((moved / "last/training/state.json").read_text())["step"] == 3
    assert not [p for p in moved.rglob(".writing*")]


def checkpoints_of(run):
    return checkpoint.checkpoints(run)


def test_what_a_killed_save_left_behind_goes_with_the_next(tmp_path, trained):
    for left in (".writing_step_00000003", ".deleted_step_00000001"):
        (tmp_path / "checkpoints" / left / "model").mkdir(parents=True)
    save(tmp_path, *trained, 5)
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step_00000005"]


def test_a_disk_without_links_costs_the_link_only(tmp_path, trained, monkeypatch, caplog):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    place = save(tmp_path, *trained, 5)
    assert checkpoint.checkpoints(tmp_path) == [place]
    assert "does not point to the newest checkpoint" in caplog.text


def test_another_configuration_is_refused_by_the_names_of_its_fields(tmp_path, trained):
    folder = save(tmp_path, *trained, 1)
    theirs = {"lr": 0.2, "model": {"width": 8}, "workers": 9}
    with pytest.raises(UserError) as caught:
        checkpoint.require_same_config(folder, theirs, frozenset({"workers"}))
    text = str(caught.value)
    assert "lr: 0.1 there, 0.2 here" in text
    assert "model.width: 4 there, 8 here" in text
    assert "workers" not in text
    same = {"lr": 0.1, "model": {"width": 4}, "workers": 9}
    checkpoint.require_same_config(folder, same, frozenset({"workers"}))


def test_weights_load_strictly(tmp_path, trained):
    file = save(tmp_path, *trained, 1) / "model/model.safetensors"
    bigger = NamedParts()
    bigger.extra = nn.Parameter(torch.ones(2))
    with pytest.raises(UserError, match=r"missing 1 \['extra'\]"):
        load_weights(bigger, file)
    wider = NamedParts()
    wider.cls_token = nn.Parameter(torch.ones(1, 1, 9))
    with pytest.raises(UserError, match="expected cls_token of shape"):
        load_weights(wider, file)


@pytest.mark.parametrize("name", ["model/model.safetensors", "training/optimizer.safetensors"])
def test_a_cut_checkpoint_is_named(tmp_path, trained, name):
    net, optimizer = trained
    folder = save(tmp_path, net, optimizer, 1)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        load(folder, net, optimizer)


def test_an_unwritable_place_keeps_the_last_good_one(tmp_path, trained, monkeypatch):
    save(tmp_path, *trained, 1)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pacofr.engine.tensor_files.save_file", full)
    with pytest.raises(UserError, match=r"No space left.*last good checkpoint is .*step_00000001"):
        save(tmp_path, *trained, 2)
    assert [c.name for c in checkpoint.checkpoints(tmp_path)] == ["step_00000001"]
    assert not list((tmp_path / "checkpoints").glob(".writing*"))


def test_publishing_replaces_the_model_whole(tmp_path, trained):
    (tmp_path / "model").mkdir(parents=True)
    (tmp_path / "model/stale").touch()
    folder = save(tmp_path, *trained, 1)
    target = checkpoint.publish_model(tmp_path, folder)
    assert sorted(p.name for p in target.iterdir()) == ["config.json", "model.safetensors"]


def test_every_rank_s_generator_is_restored_from_its_row():
    before = torch.get_rng_state()
    try:
        torch.manual_seed(7)
        second = rng_state(CPU)
        wanted = torch.rand(4)
        rows = torch.stack([before, second])
        set_rng_state(rows[1], CPU)
        assert torch.equal(torch.rand(4), wanted)
    finally:
        torch.set_rng_state(before)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("with_ema", [False, True])
def test_a_checkpoint_in_the_background_is_that_of_its_step(tmp_path, trained, with_ema):
    """The training changes all tensors while they are written, and the copies' memory is reused."""
    net, optimizer = trained
    ema = Ema(net, 0.5) if with_ema else None
    writer = checkpoint.CheckpointWriter(
        tmp_path / "background", keep=9, background=True, **WRITING
    )
    for step in (3, 4):
        expected = files_of(save(tmp_path / "plain", net, optimizer, step, ema=ema))
        writer.save(content(net, optimizer, step, ema=ema))
        if ema is not None:
            ema.update(net)
        with torch.no_grad():
            for tensor in net.parameters():
                tensor += 1.0
            for moments in optimizer.state.values():
                moments["exp_avg"] += 1.0
        writer.wait()
        assert files_of(checkpoint.checkpoints(tmp_path / "background")[0]) == expected


def test_one_checkpoint_is_written_at_a_time(tmp_path, trained):
    began, ended, go_on = [], [], threading.Event()

    def export(folder, model):
        began.append(folder)
        assert go_on.wait(10)
        write_model(folder, model, {"width": 4})
        ended.append(folder)

    writer = checkpoint.CheckpointWriter(
        tmp_path, keep=9, export=export, run_config={}, background=True
    )
    writer.save(content(*trained, 1))  # returns while it is written
    writer.check()
    assert not ended
    threading.Timer(0.1, go_on.set).start()
    writer.save(content(*trained, 2))
    assert len(ended) >= 1  # it waited for the first
    writer.wait()
    assert len(began) == len(ended) == len(checkpoints_of(tmp_path)) == 2
