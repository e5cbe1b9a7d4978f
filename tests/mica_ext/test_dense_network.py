"""The dense landmark network's reading of heat maps, its mirror tables and its weights' folder."""

import json

import numpy as np
import pytest
import torch

from mica_ext.errors import UserError
from mica_ext.landmarks.dense.network import KEYS, DenseLandmarkNetwork
from mica_ext.landmarks.dense.regions import FEATURE_PAIRS, KEY_POINTS, REGION_MIRROR, REGIONS
from mica_ext.landmarks.dense.weights import load_dense_network, save_dense_network
from pacofr.faces.face_mesh.topology import MIRROR


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DenseLandmarkNetwork().eval()


def test_regions_and_key_points_mirror_onto_each_other():
    assert len(set(KEY_POINTS)) == KEYS == 144
    names = list(REGIONS)
    for name, mirror in zip(names, REGION_MIRROR, strict=True):
        assert set(MIRROR[REGIONS[name]]) == set(REGIONS[names[mirror]])
    assert set(MIRROR[KEY_POINTS]) == set(KEY_POINTS)
    pairs = {frozenset(pair) for pair in FEATURE_PAIRS.tolist()}
    assert {frozenset(MIRROR[list(pair)].tolist()) for pair in pairs} == pairs


@pytest.mark.parametrize("side", [32, 40])
def test_a_peak_is_read_where_it_stands(network, side):
    logits = torch.full((1, KEYS, side, side), -30.0)
    rows = torch.randint(side, (KEYS,), generator=torch.Generator().manual_seed(1))
    columns = torch.randint(side, (KEYS,), generator=torch.Generator().manual_seed(2))
    logits[0, torch.arange(KEYS), rows, columns] = 30.0
    output = network.decode(logits, torch.zeros(1, 128))
    expected = torch.stack([columns, rows], 1) * (2 / side) + 1 / side - 1
    torch.testing.assert_close(output.keys[0], expected, atol=1e-5, rtol=0)


def test_two_equal_peaks_are_read_half_way(network):
    logits = torch.full((1, KEYS, 32, 32), -30.0)
    logits[:, :, 10, 4] = logits[:, :, 10, 8] = 20.0
    output = network.decode(logits, torch.zeros(1, 128))
    torch.testing.assert_close(
        output.keys[0, 0], torch.tensor([6.5, 10.5]) / 16 - 1, atol=1e-5, rtol=0
    )


def test_points_follow_the_key_points_linearly(network):
    generator = torch.Generator().manual_seed(3)
    logits = 5 * torch.randn(2, KEYS, 32, 32, generator=generator)
    output = network.decode(logits, torch.zeros(2, 128))
    weight, bias = network.decoder.weight, network.decoder.bias
    expected = output.keys.flatten(1) @ weight.T + bias
    torch.testing.assert_close(output.points.flatten(1), expected)


def test_autocast_leaves_coordinates_in_float32(network):
    crops = torch.rand(1, 3, 128, 128)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        output = network(crops)
    assert {tensor.dtype for tensor in output} == {torch.float32}


def test_saved_weights_give_the_same_points(network, tmp_path):
    about = save_dense_network(network, tmp_path, command="train", seed=3, score="none")
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 4_000_000
    crops = torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        points = load_dense_network(tmp_path)(crops).points
        torch.testing.assert_close(points, network(crops).points, atol=5e-3, rtol=0)
    assert "research only" in about.licence


def test_weights_that_do_not_fit_are_one_line(network, tmp_path):
    save_dense_network(network, tmp_path, command="train", seed=3, score="none")
    config = tmp_path / "config.json"
    whole = json.loads(config.read_text())
    for change, words in (
        ({"format": "mica-ext landmarks68"}, "expected mica-ext landmarks478"),
        ({"seed": "3"}, "seed: expected int"),
        ({"sha256": "0" * 64}, "damaged or not its own"),
        ({"extra": 1}, "expected the config"),
    ):
        config.write_text(json.dumps(whole | change))
        with pytest.raises(UserError, match=words):
            load_dense_network(tmp_path)
    config.unlink()
    with pytest.raises(UserError, match="cannot read them"):
        load_dense_network(tmp_path)


def test_any_side_that_strides_divide_is_taken(network):
    with torch.inference_mode():
        for side in (64, 160):
            output = network(torch.rand(1, 3, side, side))
            assert output.columns.shape == (1, KEYS, side // 4)
            np.testing.assert_allclose(output.rows.sum(-1), 1, atol=1e-5)
