"""Training, evaluating and sweeping task models by the command line, on tiny trees."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from helpers.task_trees import write_encoder, write_lapa, write_pts_tree
from safetensors.torch import load_file

from pacofr.cli import main
from pacofr.engine.batches.sampling import RankBatch
from pacofr.errors import UserError
from pacofr.faces.landmarks68 import mirrored
from pacofr.pretraining.encoder_spec import load_encoder_spec
from pacofr.tasks.alignment.layouts import load_alignment_split
from pacofr.tasks.alignment.samples import AlignmentReader
from pacofr.tasks.config import AlignmentConfig, HeadConfig, TaskModelConfig
from pacofr.tasks.model import load_task_model, new_task_model
from pacofr.tasks.report.results import read_result


def words(text):
    return text.split()


TINY = words("--head.width 8 --frame 64 --batch-size 4 --workers 0 --device cpu --threads 1")
MAPS = words("--heatmap-size 32 --heatmap-radius 3")
STILL = words("--shift 0 --rotation 0 --scaling 0 --ema-decay 0.5")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder") / "run" / "model")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_pts_tree(tmp_path_factory.mktemp("photos"))


def train(task, data, encoder, out, *flags):
    where = ["--data", data, "--encoder", str(encoder), "--out", str(out)]
    return main(["task", "train", task, *where, *TINY, *flags])


def encoder_weights(model_file):
    weights = load_file(model_file)
    return {n: t for n, t in weights.items() if "blocks.0" in n and n.startswith("encoder.")}


@pytest.fixture(scope="module")
def aligned(encoder, photos, tmp_path_factory):
    """A run that has learnt four pictures by heart."""
    out = tmp_path_factory.mktemp("aligned") / "run"
    flags = [
        *MAPS,
        *STILL,
        *words("--steps 60 --optim.head-lr 2e-2 --optim.encoder-lr 1e-3 --validate-epochs 20"),
        *words("--start-logit -4"),
    ]
    assert train("alignment", f"pts:{photos}", encoder, out, *flags) == 0
    return out, flags


def test_alignment_learns_what_it_is_shown(aligned):
    out, _ = aligned
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    errors = {x["step"]: x["full/inter_ocular"] for x in lines if "full/inter_ocular" in x}
    assert sorted(errors) == [20, 40, 60]
    assert errors[60] < 0.5 * errors[20]
    result = read_result(out)
    last, best = (result.score("full", which) for which in ("last epoch", "best epoch"))
    assert (last.step, last.measures["inter_ocular"]) == (60, errors[60])
    assert best.measures["inter_ocular"] == min(errors.values())
    assert result.labels == 4
    assert "head.width 8 (protocol: 768)" in result.deviations
    assert "start_logit -4.0 (protocol: 0.0)" in result.deviations


def test_a_finished_run_is_left_alone_and_another_configuration_refused(
    aligned, encoder, photos, capsys
):
    out, flags = aligned
    before = (out / "metrics.jsonl").read_bytes()
    assert train("alignment", f"pts:{photos}", encoder, out, *flags) == 0
    assert (out / "metrics.jsonl").read_bytes() == before
    assert train("alignment", f"pts:{photos}", encoder, out, *flags, "--seed", "7") == 2
    said = capsys.readouterr().err
    assert "is of another configuration (seed: 0 there, 7 here" in said


def test_evaluation_gives_the_scores_of_the_training(aligned, photos, tmp_path, capsys):
    out, _ = aligned
    file = tmp_path / "new" / "scores.json"
    flags = ["--data", f"pts:{photos}", "--workers", "0", "--device", "cpu", "-o", str(file)]
    assert main(["task", "eval", "alignment", "--model", str(out), *flags]) == 0
    assert "given model" in capsys.readouterr().out
    given = read_result(file).score("full", "given model")
    last = read_result(out).score("full", "last epoch")
    for name, value in last.measures.items():
        assert given.measures[name] == pytest.approx(value, abs=1e-4)
    assert main(["task", "eval", "parsing", "--model", str(out), *flags]) == 2
    assert "expected a model for parsing, got alignment" in capsys.readouterr().err


def test_parsing_learns_what_it_is_shown(encoder, tmp_path, caplog):
    root = write_lapa(tmp_path / "lapa")
    flags = [*STILL, *words("--steps 60 --warp 0 --optim.head-lr 2e-2 --optim.encoder-lr 1e-3")]
    assert train("parsing", f"lapa:{root}", encoder, tmp_path / "run", *flags) == 0
    assert "lapa train: found 3 in train, published are 18168 or 18176" in caplog.text
    score = read_result(tmp_path / "run").score("test", "last epoch")
    assert score.measures["skin"] > 85
    assert score.measures["background"] > 85
    assert set(score.measures) >= {"mean", "hair", "left eye"}


@pytest.mark.parametrize("tuning", ["frozen", "tuned"])
def test_only_a_tuned_encoder_changes(tuning, encoder, photos, tmp_path):
    flags = [*MAPS, "--steps", "2", "--tuning", tuning, "--no-test", "--labels", "3"]
    assert train("alignment", f"pts:{photos}", encoder, tmp_path / "run", *flags) == 0
    trained = encoder_weights(tmp_path / "run/model/model.safetensors")
    given = load_file(encoder / "model.safetensors")
    same = [
        torch.equal(tensor, given[name.replace("encoder.vit.", "encoder.")])
        for name, tensor in trained.items()
    ]
    assert len(same) == 12
    assert all(same) if tuning == "frozen" else not any(same)
    assert load_task_model(tmp_path / "run")[1].labels == 3
    assert not (tmp_path / "run/result.json").exists()


def test_a_loaded_model_is_the_saved_one_and_damage_is_one_line(aligned, tmp_path):
    out, _ = aligned
    model, _ = load_task_model(out / "model")
    frames = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        first = model(frames)
    assert first.shape == (2, 68, 16, 16)
    folder = tmp_path / "model"
    shutil.copytree(out / "model", folder)
    again, _ = load_task_model(folder)
    with torch.no_grad():
        assert torch.equal(again(frames), first)
    about = json.loads((folder / "config.json").read_text())
    assert about["model"].pop("heatmaps") == "sigmoid"  # as in files of earlier versions
    (folder / "config.json").write_text(json.dumps(about))
    assert load_task_model(folder)[0].config == again.config
    about["model"]["frame"] = "64"
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(Exception, match="frame must be a whole number"):
        load_task_model(folder)


def test_every_weight_that_is_trained_gets_a_gradient(encoder):
    """Data-parallel training would wait for one that does not."""
    loaded = load_encoder_spec(str(encoder.parent))
    for layers in ((2, 4, 8, 12), (1, 2, 3, 6)):
        config = TaskModelConfig(
            task="parsing",
            data="lapa",
            outputs=11,
            encoder=loaded.config,
            head=HeadConfig(width=8, layers=layers),
            frame=64,
        )
        model = new_task_model(loaded, config).train()
        model(torch.rand(2, 3, 32, 32)).square().sum().backward()
        idle = [
            name
            for name, weight in model.named_parameters()
            if weight.requires_grad and (weight.grad is None or not weight.grad.any())
        ]
        # a bias before batch normalisation, or of the keys before a softmax, has none but rounding
        assert [name for name in idle if "bias" not in name] == []
        for name in idle:
            assert dict(model.named_parameters())[name].grad is not None


def test_a_sweep_goes_on_where_it_was_stopped(encoder, photos, tmp_path, capsys):
    out = tmp_path / "sweep"
    flags = ["--data", f"pts:{photos}", "--encoders", str(encoder), "--out", str(out), *MAPS]
    flags += [
        *words("--label-counts 2 4 --tunings frozen --seeds 2 --steps 1"),
        *TINY,
    ]
    assert main(["task", "sweep", "alignment", *flags]) == 0
    runs = sorted(path.parent for path in out.rglob("result.json"))
    assert [(run.parent.name, run.name) for run in runs] == [
        (f"labels-{labels:04d}", f"seed-{seed}") for labels in (2, 4) for seed in (0, 1)
    ]
    shutil.rmtree(runs[2])
    kept = (runs[0] / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["task", "sweep", "alignment", *flags]) == 0
    assert (runs[0] / "metrics.jsonl").stat().st_mtime_ns == kept
    values = [
        read_result(run).score("full", "last epoch").measures["inter_ocular"] for run in runs[2:]
    ]
    row = json.loads((out / "table.json").read_text())["rows"][1]
    assert row["labels"] == 4
    np.testing.assert_allclose(sorted(row["values"]), sorted(values))

    # Student's t of two runs: 12.706 standard errors, and those of two values are |a - b| / 2
    assert row["half_interval"] == pytest.approx(12.7062 * abs(values[0] - values[1]) / 2, rel=1e-4)
    assert f"{row['mean']:.2f} +- {row['half_interval']:.2f}" in capsys.readouterr().out
    again, chart = [str(run) for run in runs], tmp_path / "chart.png"
    assert main(["task", "table", *again, "--by-labels", str(chart)]) == 0
    assert f"{row['mean']:.2f} +- {row['half_interval']:.2f}" in capsys.readouterr().out
    assert chart.read_bytes() == (out / "table.png").read_bytes()
    assert main(["task", "table", again[0], "--by-labels", str(tmp_path)]) == 2
    assert main(["task", "table", again[0], "--by-labels", str(tmp_path / "no/c.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--data", "pts"], "--data pts: expected NAME:FOLDER"),
        (["--data", "faces:nowhere"], "unknown data set 'faces' for alignment"),
        (["--data", "pts:nowhere"], "nowhere: expected the folder of the data set pts"),
        (["--data", "pts:PHOTOS", "--labels", "9"], "expected 9 labelled pictures for --labels"),
        (["--data", "pts:PHOTOS", "--resolution", "50"], "resolution 50 must be a multiple"),
        (["--data", "pts:PHOTOS", "--epochs", "1", "--steps", "2"], "give --epochs or --steps"),
        (["--data", "pts:PHOTOS", "--head.layers", "8", "4", "2", "1"], "head layers must rise"),
        (["--data", "pts:PHOTOS", "--batch-size", "1"], "expected at least 2 pictures in a step"),
        (["--data", "pts:PHOTOS", "--ema-decay", "1"], "ema decay must lie between 0 and 1"),
    ],
)
def test_wrong_settings_are_one_line(flags, line, encoder, photos, tmp_path, capsys):
    given = [flag.replace("PHOTOS", str(photos)) for flag in flags]
    where = ["--encoder", str(encoder), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["task", "train", "alignment", *given, *where]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_follows_its_schedule(encoder, photos):
    from pacofr.engine.distributed import World
    from pacofr.tasks.alignment.layouts import load_alignment_split
    from pacofr.tasks.alignment.train import AlignmentTraining
    from pacofr.tasks.config import AlignmentConfig, TaskOptimConfig, TrainedWith

    def training(**optim):
        config = AlignmentConfig(
            head=HeadConfig(width=8),
            frame=64,
            crop_scale=0.8,
            epochs=300,
            batch_size=2,
            optim=TaskOptimConfig(head_lr=1.0, encoder_lr=0.1, **optim),
        )
        split = load_alignment_split("pts", photos, "train")
        trained = TrainedWith(
            encoder="x", tuning="tuned", labels=4, steps=600, seed=0, deviations=()
        )
        world = World(0, 1, torch.device("cpu"))
        loaded = load_encoder_spec(str(encoder.parent))
        return AlignmentTraining(config, loaded, split, None, world, trained)

    stepped = training()
    rates = [stepped.learning_rate(step) for step in (0, 399, 400, 599)]
    np.testing.assert_allclose(rates, [1.0, 1.0, 0.1, 0.1])
    cosine = training(schedule="cosine")
    assert cosine.learning_rate(14) == pytest.approx(0.5)
    assert cosine.learning_rate(300) == pytest.approx(0.5)
    assert cosine.learning_rate(599) == pytest.approx(0.5 * (1 + math.cos(math.pi * 599 / 600)))
    from pacofr.engine.optimization.adamw import set_learning_rate

    optimizer = cosine.make_optimizer()
    set_learning_rate(optimizer, 0.5)
    rates = {len(group["params"]): group["lr"] for group in optimizer.param_groups}
    assert sorted(rates.values()) == pytest.approx([0.05, 0.5])


def test_photos_that_are_held_change_no_batch(tmp_path):
    split = load_alignment_split("pts", write_pts_tree(tmp_path, count=3), "train")
    batch = RankBatch(np.zeros(5, np.int64), np.arange(5), np.array([0, 2, 1, 2, 0]))
    small = 64 * 64 * 3 / 1e9  # room for one of the three
    read = [
        AlignmentReader(split.samples, AlignmentConfig(frame=32, crop_scale=0.8, hold_gb=hold), 0)
        for hold in (0.0, small, 1.0)
    ]
    for _ in range(2):
        first, *others = (reader(batch) for reader in read)
        assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    (tmp_path / "face0.jpg").unlink()
    assert torch.equal(read[2](batch).frames, first.frames)
    with pytest.raises(UserError, match="face0"):
        read[0](batch)


def test_mirrored_pictures_have_mirrored_landmarks(tmp_path):
    samples = load_alignment_split("pts", write_pts_tree(tmp_path, count=3), "train").samples
    batch = RankBatch(np.zeros(3, np.int64), np.arange(3), np.arange(3))
    plain, other = (
        AlignmentReader(samples, AlignmentConfig(frame=64, crop_scale=0.8, mirror=chance), 0)(batch)
        for chance in (0.0, 1.0)
    )
    expected = mirrored(plain.points.numpy() * 64 - 0.5, 64)
    assert other.points.numpy() * 64 - 0.5 == pytest.approx(expected, abs=1e-4)
    frames, flipped = plain.frames.double(), other.frames.double()
    apart = [(flipped - f).abs().mean() for f in (frames.flip(2), frames)]
    assert apart[0] < apart[1]  # noise and what hides parts of the face are drawn anew
    with pytest.raises(UserError, match="mirror must lie between"):
        AlignmentConfig(mirror=1.5)
