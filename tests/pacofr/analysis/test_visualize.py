"""The pictures of a run show what they say: checked pixel by pixel on a small network."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.crops import write_shards
from PIL import Image

from pacofr.analysis import visualize
from pacofr.analysis.config import ShowConfig
from pacofr.engine.checkpoint import write_model
from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.normalization import denormalise
from pacofr.pretraining import config, presets
from pacofr.pretraining.method import codebook
from pacofr.pretraining.method.model import PaCoFR

MODEL = config.PaCoFRConfig(
    encoder=VitConfig(image_size=112, patch_size=8, width=16, depth=1, heads=1),
    decoder=config.DecoderConfig(width=16, heads=1),
    predictor=config.PredictorConfig(hidden=8),
)


def publish(folder, settings, seed):
    torch.manual_seed(seed)
    model = PaCoFR(settings)
    write_model(folder / "model", model, config.model_to_json(settings))
    return model


def test_codebook_rows_are_tokens_in_their_places():
    torch.manual_seed(0)
    model = PaCoFR(MODEL)
    tokens, decoded = visualize.codebook_rows(visualize.LoadedRun("run", model), seed=0, mixes=2)
    assert len(tokens.cells) == len(decoded.cells) == 3 + 2
    pixels = denormalise(codebook.unpatchify(model.codebook()[:, 1][None].detach(), 8)).clamp(0, 1)
    expected = (pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(tokens.cells[1], expected)


def test_reconstruction_rows_keep_visible_patches_and_replace_the_masked_ones():
    torch.manual_seed(0)
    model = PaCoFR(MODEL)
    images = torch.randint(256, (2, 3, 112, 112), dtype=torch.uint8)
    face, seen, _ = visualize.reconstruction_rows(
        [visualize.LoadedRun("run", model)], {"run": images}, seed=0
    )
    assert np.array_equal(face.cells[1], images[1].permute(1, 2, 0).numpy())
    same = (face.cells[1] == seen.cells[1]).reshape(14, 8, 14, 8, 3).all(axis=(1, 3, 4))
    assert same.sum() == 49


def test_groups_hold_those_who_chose_the_candidate():
    torch.manual_seed(0)
    model = PaCoFR(MODEL)
    images = torch.zeros(6, 3, 112, 112, dtype=torch.uint8)
    images[4:] = 200
    chosen = torch.zeros(6, 196, dtype=torch.int64)
    chosen[4:] = 2
    rows = visualize.group_rows(model, images, chosen, examples=3)
    assert len(rows) == 3 * len(visualize.FACE_POINTS)
    assert [row.label for row in rows[:3]] == [
        "left eye\n1: 67%",
        "left eye\n2: 0%",
        "left eye\n3: 33%",
    ]
    token, mean, *examples = rows[2].cells
    assert token.shape == (8, 8, 3)
    assert (mean == 200).all()
    assert len(examples) == 2
    assert len(rows[1].cells) == 1


def test_all_pictures_of_two_runs(tmp_path):
    folder = write_shards(tmp_path / "shards")
    publish(tmp_path / "a", MODEL, 0)
    publish(tmp_path / "b", presets.ABLATIONS["1-token"].apply(presets.micro()).model, 1)
    (tmp_path / "b/metrics.jsonl").write_text('{"images": 8, "mse": 1.0}\n')
    settings = ShowConfig(
        runs=(tmp_path / "a", tmp_path / "b"),
        shards=folder,
        out=tmp_path / "out",
        faces=3,
        grouped=8,
    )
    written = visualize.visualize(settings)
    names = ["reconstructions.png", "codebook.png", "aligned.png", "groups_a.png", "curves.png"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in settings.out.iterdir()) == sorted(names)
    with Image.open(settings.out / "reconstructions.png") as picture:
        step = visualize.CELL_PX + visualize.GAP_PX
        assert picture.size == (visualize.LABEL_PX + 3 * step, 5 * step)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UserError, match="cannot write .*; give another --out"):
            visualize.visualize(dataclasses.replace(settings, out=out))
    with pytest.raises(UserError, match="twice"):
        visualize.visualize(
            ShowConfig(runs=(tmp_path / "a",) * 2, shards=folder, out=tmp_path / "out")
        )
