"""Every file that pacofr reads, damaged in many ways: it loads, or it is one line."""

import json
import warnings

import numpy as np
import pytest
import torch
from helpers.crops import write_shards
from helpers.mutations import damaged_bytes, damaged_json
from helpers.pacofr_tiny import TinyCrops, tiny_config
from helpers.training_toy import Toy, run_toy

from pacofr.analysis.learning_curves import draw_curves, read_curves
from pacofr.analysis.table7 import make_plan
from pacofr.analysis.table7_config import EvidenceConfig
from pacofr.data.shards import ShardDataset
from pacofr.engine.checkpoint import (
    Progress,
    TrainingState,
    checkpoints,
    load_checkpoint,
    require_same_config,
)
from pacofr.engine.device import set_rng_state
from pacofr.engine.distributed import World
from pacofr.engine.optimization.ema import Ema
from pacofr.engine.run_log import cut_metrics
from pacofr.engine.task import RunOptions
from pacofr.errors import UserError, error_line
from pacofr.models.encoders import load_encoder
from pacofr.models.pretrained_files import open_checkpoint
from pacofr.pretraining.method.model import load_pretrained
from pacofr.pretraining.train import pretrain

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


def try_all(read, file, variants):
    """Write every variant to `file` and read it: it loads, or ends in a line."""
    lines = []
    for number, content in enumerate(variants):
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read()
        except Exception as error:
            line = error_line(error)
            lines.append(line or "")
            if line is None:
                raise AssertionError(f"variant {number}: {content[:200]!r}") from error
    assert lines
    assert not any("\n" in line for line in lines)


@pytest.fixture
def model(tmp_path):
    torch.set_num_threads(1)
    pretrain(tiny_config(epochs=1), TinyCrops(), RunOptions(out=tmp_path / "run", device="cpu"))
    return tmp_path / "run/model"


def test_the_config_of_a_model(model):
    file = model / "config.json"
    content, text = json.loads(file.read_text()), file.read_bytes()

    def read():
        load_encoder("pacofr", model)
        load_pretrained(model)

    try_all(read, file, damaged_json(content, 0, 400))
    try_all(read, file, damaged_bytes(text, 1, 400))


def test_the_weights_of_a_model(model):
    file = model / "model.safetensors"

    def read():
        load_encoder("pacofr", model)
        load_pretrained(model)

    try_all(read, file, damaged_bytes(file.read_bytes(), 2, 400))


def test_shards(tmp_path):
    folder = write_shards(tmp_path / "shards", crops=5)

    def read():
        data = ShardDataset(folder)
        for number in range(len(data)):
            data.about(number)
            assert data[number].shape == (256, 256, 3)

    whole = {name: (folder / name).read_bytes() for name in ("index.npy", "index.json")}
    for name, data in whole.items():
        try_all(read, folder / name, damaged_bytes(data, 3, 400))
        (folder / name).write_bytes(data)
    content = json.loads(whole["index.json"])
    try_all(read, folder / "index.json", damaged_json(content, 4, 400))
    (folder / "index.json").write_bytes(whole["index.json"])
    table = np.load(folder / "index.npy")
    rng = np.random.default_rng(0)
    for _ in range(300):
        odd = table.copy()
        field = rng.choice(["shard", "size", "offset"])
        odd[field][rng.integers(5)] = rng.integers(0, 2 ** int(rng.integers(1, 64)), dtype="<u8")
        np.save(folder / "index.npy", odd)
        if not np.array_equal(odd, table):
            with pytest.raises(UserError):
                read()
    (folder / "index.npy").write_bytes(whole["index.npy"])
    shard = folder / "shard-000000.tar"
    size = shard.stat().st_size
    same_size = (d[:size].ljust(size, b"\0") for d in damaged_bytes(shard.read_bytes(), 5, 200))
    try_all(read, shard, same_size)


@pytest.mark.parametrize(
    "name", ["state.json", "optimizer.safetensors", "rng.safetensors", "ema.safetensors"]
)
def test_a_checkpoint(name, tmp_path):
    run_toy(tmp_path)
    checkpoint = checkpoints(tmp_path)[0]
    file = checkpoint / "training" / name

    def read():
        toy = Toy(World(0, 1, CPU))
        require_same_config(checkpoint, toy.run_config, toy.resume_may_change)
        progress = Progress(0, 0, 0.0, 1)
        state = TrainingState(toy.model, toy.make_optimizer(), Ema(toy.model, 0.9), progress)
        set_rng_state(load_checkpoint(checkpoint, state)[0], CPU)

    whole = file.read_bytes()
    try_all(read, file, damaged_bytes(whole, 6, 300))
    if name == "state.json":
        try_all(read, file, damaged_json(json.loads(whole), 7, 400))


def test_the_records_of_a_run(tmp_path):
    row = {"step": 1, "images": 8, "mse": 0.5, "perceptual": 0.0, "usage_entropy": 0.1}
    file = tmp_path / "metrics.jsonl"

    def read():
        curves = read_curves(tmp_path)
        if curves is not None:
            draw_curves({"run": curves})
        cut_metrics(file, 1)

    lines = "".join(json.dumps({**row, "step": n}) + "\n" for n in range(3)).encode()
    try_all(read, file, damaged_bytes(lines, 8, 60))
    try_all(read, file, (text + "\n" for text in damaged_json(row, 9, 60)))


def test_a_plan(tmp_path):
    folder = write_shards(tmp_path / "shards", crops=24)
    config = EvidenceConfig(
        shards=folder, helen=tmp_path, out=tmp_path / "out", minutes_per_run=0.0, device="cpu"
    )
    make_plan(config, ("1-token",))
    file = config.out / "plan.json"
    plan, text = json.loads(file.read_text()), file.read_bytes()
    try_all(lambda: make_plan(config, ()), file, damaged_json(plan, 10, 300))
    try_all(lambda: make_plan(config, ()), file, damaged_bytes(text, 11, 300))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_other_people(zipped, tmp_path):
    file = tmp_path / "weights.pth"
    content = {
        "model": {"cls_token": torch.ones(1, 1, 8), "half": torch.ones(3, dtype=torch.bfloat16)},
        "args": {"lr": np.float64(1.0)},
        "epoch": 3,
    }
    torch.save(content, file, _use_new_zipfile_serialization=zipped)

    def read():
        with open_checkpoint(file, "model", "mae") as source:
            for name in source.shapes:
                source.read(name)

    read()
    try_all(read, file, damaged_bytes(file.read_bytes(), 12, 1000))
