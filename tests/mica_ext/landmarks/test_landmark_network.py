"""The landmark network: heat maps, patches, mirror tables and the folder of its weights."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from mica_ext.errors import UserError
from mica_ext.landmarks.regions import FEATURE_PAIRS, KEY_POINTS, REGION_MIRROR, REGIONS
from mica_ext.landmarks.student.heatmaps import soft_argmax
from mica_ext.landmarks.student.network import INITIAL_GAIN, INPUT, KEYS, WHOLE, LandmarkNetwork
from mica_ext.landmarks.student.patches import PARTS, cut_patches, frames_of, from_patch, to_patch
from mica_ext.landmarks.student.weights import load_landmark_network, save_landmark_network
from pacofr.faces.face_mesh.topology import MIRROR

ABOUT = {"licence": "tests only", "command": "train", "seed": 3, "score": "none"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LandmarkNetwork().eval()


@pytest.fixture(scope="module")
def face():
    """478 random points with eye and mouth corners where a face has them."""
    points = 0.5 * torch.randn(2, 478, 2, generator=torch.Generator().manual_seed(0))
    for corner, place in {
        33: (-0.4, -0.1),
        133: (-0.15, -0.12),
        263: (0.4, -0.1),
        362: (0.15, -0.12),
        61: (-0.2, 0.5),
        291: (0.2, 0.45),
        0: (0.0, 0.4),
        17: (0.0, 0.6),
    }.items():
        points[:, corner] = torch.tensor(place)
    return points


def test_regions_and_key_points_mirror_onto_each_other():
    assert len(set(KEY_POINTS)) == KEYS == 144
    names = list(REGIONS)
    for name, mirror in zip(names, REGION_MIRROR, strict=True):
        assert set(MIRROR[REGIONS[name]]) == set(REGIONS[names[mirror]])
    assert set(MIRROR[KEY_POINTS]) == set(KEY_POINTS)
    pairs = {frozenset(pair) for pair in FEATURE_PAIRS.tolist()}
    assert {frozenset(MIRROR[list(pair)].tolist()) for pair in pairs} == pairs


@pytest.mark.parametrize("side", [28, 32])
def test_a_peak_is_read_where_it_stands(side):
    logits = torch.full((1, KEYS, side, side), -30.0)
    rows = torch.randint(side, (KEYS,), generator=torch.Generator().manual_seed(1))
    columns = torch.randint(side, (KEYS,), generator=torch.Generator().manual_seed(2))
    logits[0, torch.arange(KEYS), rows, columns] = 30.0
    expected = torch.stack([columns, rows], 1) * (2 / side) + 1 / side - 1
    torch.testing.assert_close(soft_argmax(logits).points[0], expected, atol=1e-5, rtol=0)


def test_two_equal_peaks_are_read_half_way():
    logits = torch.full((1, 1, 32, 32), -30.0)
    logits[:, :, 10, 4] = logits[:, :, 10, 8] = 20.0
    reading = soft_argmax(logits)
    expected = torch.tensor([6.5, 10.5]) / 16 - 1
    torch.testing.assert_close(reading.points[0, 0], expected, atol=1e-5, rtol=0)
    assert float(reading.peaks) == pytest.approx(0.5)


def test_points_follow_the_key_points_linearly(network):
    whole = network.whole
    logits = 5 * torch.randn(2, KEYS, 32, 32, generator=torch.Generator().manual_seed(3))
    output = whole.decode(logits, torch.zeros(2, 128))
    expected = output.keys.flatten(1) @ whole.decoder.weight.T + whole.decoder.bias
    torch.testing.assert_close(output.points.flatten(1), expected)


def test_points_follow_what_the_patches_show(network):
    crops = torch.rand(2, 3, INPUT, INPUT)
    with torch.inference_mode():
        output = network(crops)
        whole = network.whole(
            F.interpolate(crops, size=(WHOLE, WHOLE), mode="bilinear", antialias=True)
        )
    change = torch.zeros(2, KEYS, 2)
    for part, seen in zip(PARTS, output.parts, strict=True):
        np.testing.assert_array_equal(KEY_POINTS[part.keys], part.points)
        change[:, part.keys] = INITIAL_GAIN * (seen.points - whole.points[:, part.points])
    moved = (change.flatten(1) @ network.whole.decoder.weight.T).unflatten(1, (478, 2))
    torch.testing.assert_close(output.points, whole.points + moved, atol=1e-4, rtol=0)
    assert moved.abs().max() > 0.01


def test_errors_of_the_patches_do_not_move_the_whole_face(network):
    output = network(torch.rand(1, 3, INPUT, INPUT))
    gradients = torch.autograd.grad(
        output.points.square().sum(), network.parameters(), allow_unused=True
    )
    reached = {
        name.split(".")[0]
        for (name, _), gradient in zip(network.named_parameters(), gradients, strict=True)
        if gradient is not None
    }
    assert reached == {"eye", "mouth", "patch_gain"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_patch_shows_its_part_where_it_lies(part, face):
    frames = frames_of(part, face)
    size = 400
    crops = torch.zeros(2, 3, size, size)
    place = frames.centre + 0.4 * frames.half[:, None]
    for crop, (x, y) in zip(crops, (place + 1) * (size / 2) - 0.5, strict=True):
        crop[:, round(float(y)), round(float(x))] = 1.0
    patches = cut_patches(part, crops, frames).sum(1)
    ticks = (torch.arange(part.size) + 0.5) * (2 / part.size) - 1
    mass = patches.sum((1, 2))
    local = torch.stack([(patches.sum(1) @ ticks) / mass, (patches.sum(2) @ ticks) / mass], 1)
    torch.testing.assert_close(
        from_patch(part, local[:, None], frames)[:, 0], place, atol=0.01, rtol=0
    )
    assert (torch.sign(local[:, 0]) == (-1 if part.mirrored else 1)).all()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_patch_coordinates_go_back_and_forth(part, face):
    frames = frames_of(part, face)
    there = to_patch(part, face, frames)
    torch.testing.assert_close(from_patch(part, there, frames), face)


def test_both_eyes_look_alike_to_the_network(network):
    """A face that is its own mirror image has points that are their own mirror images."""
    crops = torch.rand(1, 3, INPUT, INPUT, generator=torch.Generator().manual_seed(1))
    points = torch.zeros(1, 478, 2)
    right = [33, 133]
    points[:, right] = torch.tensor([[-0.5, -0.2], [-0.2, -0.22]])
    points[:, MIRROR[right]] = torch.tensor([[0.5, -0.2], [0.2, -0.22]])
    crops = (crops + crops.flip(3)) / 2
    eyes = [cut_patches(part, crops, frames_of(part, points)) for part in PARTS[:2]]
    torch.testing.assert_close(*eyes, atol=1e-5, rtol=1e-4)


def test_autocast_leaves_coordinates_in_float32(network):
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        output = network(torch.rand(1, 3, INPUT, INPUT))
    assert {tensor.dtype for tensor in output[:-1]} == {torch.float32}
    assert {part.points.dtype for part in output.parts} == {torch.float32}


def test_saved_weights_give_the_same_points(network, tmp_path):
    about = save_landmark_network(network, tmp_path, **ABOUT)
    assert (tmp_path / "model.safetensors").stat().st_size <= 4_000_000
    crops = torch.rand(1, 3, INPUT, INPUT)
    with torch.inference_mode():
        loaded = load_landmark_network(tmp_path)(crops)
        torch.testing.assert_close(loaded.points, network(crops).points, atol=5e-3, rtol=0)
    assert about.licence == "tests only"


def test_weights_that_do_not_fit_are_one_line(network, tmp_path):
    save_landmark_network(network, tmp_path, **ABOUT)
    config = tmp_path / "config.json"
    whole = json.loads(config.read_text())
    for change, words in (
        ({"format": "mica-ext landmarks68"}, "expected mica-ext landmarks478"),
        ({"seed": "3"}, "seed must be a whole number"),
        ({"sha256": "0" * 64}, "damaged or not its own"),
        ({"extra": 1}, "not the config of landmark weights"),
    ):
        config.write_text(json.dumps(whole | change))
        with pytest.raises(UserError, match=words):
            load_landmark_network(tmp_path)
    config.unlink()
    with pytest.raises(UserError, match="found no such file"):
        load_landmark_network(tmp_path)


def test_tensors_of_another_network_are_refused(network, tmp_path):
    import hashlib

    save_landmark_network(network, tmp_path, **ABOUT)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["stranger"] = tensors.pop("whole.heatmaps.bias")
    save_file(tensors, path)
    config = tmp_path / "config.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sha256": digest}))
    with pytest.raises(UserError, match="differing in stranger"):
        load_landmark_network(tmp_path)


def test_any_side_that_strides_divide_is_seen_as_a_whole(network):
    with torch.inference_mode():
        for side in (64, WHOLE):
            output = network.whole(torch.rand(1, 3, side, side))
            assert output.columns.shape == (1, KEYS, side // 4)
            assert output.parts == ()
