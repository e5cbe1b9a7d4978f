"""MICA's data layout and the weights that training starts from: whole, or one line that tells."""

import shutil

import numpy as np
import pytest
import torch
from helpers.identity_training import SETS, options, write_tree

from mica_ext.cli import main
from mica_ext.data.mica_layout import read_actors, read_crop, read_shape
from mica_ext.errors import UserError
from mica_ext.identity.network import IdentityNetwork, MappingNetwork
from mica_ext.identity.training.train import start_network


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("mica"))


@pytest.fixture
def tree(whole, tmp_path):
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "tree")


def test_lists_and_folders_give_the_same_people(whole):
    root = whole / "mica"
    listed = read_actors(root, ("lyhm", "STIRLING"), whole / "image_paths")
    assert listed == read_actors(root, ("LYHM", "stirling"), None)
    assert [actor.data_set for actor in listed] == ["LYHM"] * 3 + ["STIRLING"] * 2
    for actor in listed:
        assert len(actor.crops) == SETS[actor.data_set][1]
        assert read_crop(actor.crops[0]).shape == (3, 112, 112)
        betas = np.load(actor.fit)["betas"]
        np.testing.assert_array_equal(read_shape(actor.fit), betas[:300].astype(np.float32))


def test_a_neutral_fit_among_several_needs_the_list(tree):
    fit = next((tree / "mica" / "LYHM" / "FLAME_parameters").glob("*/*.npz"))
    shutil.copy(fit, fit.with_name("other.npz"))
    assert len(read_actors(tree / "mica", ("LYHM",), tree / "image_paths")) == 3
    with pytest.raises(UserError, match="expected one fit, got 2.*--lists"):
        read_actors(tree / "mica", ("LYHM",), None)


def test_missing_files_are_named_or_left_out(tree):
    root, lists = tree / "mica", tree / "image_paths"
    actors = read_actors(root, ("LYHM",), lists)
    actors[0].crops[1].unlink()
    actors[2].fit.unlink()
    with pytest.raises(UserError, match="no such file, and 1 more are missing.*--skip-missing"):
        read_actors(root, ("LYHM",), lists)
    kept = read_actors(root, ("LYHM",), lists, skip_missing=True)
    assert [actor.name for actor in kept] == [actor.name for actor in actors[:2]]
    assert kept[0].crops == actors[0].crops[:1]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"a": (["../../secret.jpg"], "a/fit.npz")}, "below the data set"),
        ({"a": (["/etc/passwd"], "a/fit.npz")}, "below the data set"),
        ({"a": ([], "a/fit.npz")}, "another entry for a"),
        ({"a": (["a/1.jpg"], 3)}, "another entry for a"),
        ({"a": ["a/1.jpg"]}, "another entry for a"),
        ({}, "image list"),
        ([1, 2], "image list"),
    ],
)
def test_other_lists_are_one_line(tree, entries, words):
    file = tree / "image_paths" / "LYHM.npy"
    np.save(file, np.array(entries, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=words) as caught:
        read_actors(tree / "mica", ("LYHM",), tree / "image_paths")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((112, 112, 3), np.float32), r"the shape \(112, 112, 3\)"),
        (np.zeros((3, 112, 112), np.uint8), "uint8"),
        (np.full((3, 112, 112), 200, np.float32), "values from 200"),
        (np.full((3, 112, 112), np.nan, np.float32), "values from nan"),
    ],
)
def test_other_crops_are_one_line(tmp_path, array, words):
    np.save(tmp_path / "crop.npy", array)
    with pytest.raises(UserError, match=words):
        read_crop(tmp_path / "crop.npy")


def test_a_crop_with_a_batch_axis_is_read(tmp_path):
    np.save(tmp_path / "crop.npy", np.ones((1, 3, 112, 112), np.float32))
    assert read_crop(tmp_path / "crop.npy").shape == (3, 112, 112)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"betas": np.zeros(100)}, r"the shape \(100,\)"),
        ({"shape": np.zeros(300)}, "found none"),
        ({"betas": np.full(400, np.nan)}, "standard deviations"),
        ({"betas": np.full(400, 5e3)}, "standard deviations.*5000"),
        ({"betas": np.array(["a"] * 400)}, "numbers"),
    ],
)
def test_other_fits_are_one_line(tmp_path, content, words):
    np.savez(tmp_path / "fit.npz", **content)
    with pytest.raises(UserError, match=words) as caught:
        read_shape(tmp_path / "fit.npz")
    assert "\n" not in str(caught.value)


def test_arcface_alone_starts_a_new_mapping_network(tmp_path):
    """A state dict by itself, as arcface_torch saves backbone.pth; strides of 0 keep it small."""
    with torch.device("meta"):
        shapes = IdentityNetwork().arcface.state_dict()
    one = torch.ones(())
    content = {f"module.{k}": one.to(v.dtype).expand(v.shape) for k, v in shapes.items()}
    torch.save(content, tmp_path / "backbone.pth")
    network = start_network(tmp_path / "backbone.pth", seed=0)
    assert (network.arcface.layer3[29].bn3.bias == 1).all()
    torch.manual_seed(0)
    for name, value in MappingNetwork().state_dict().items():
        assert torch.equal(network.regressor.state_dict()[name], value)
    del content["module.fc.bias"]
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match="lacks 1 of the network's tensors, such as fc.bias"):
        start_network(tmp_path / "other.pth", seed=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"root": "nowhere"}, "expected the folder of MICA's data sets"),
        ({"data_sets": ("FRGC",)}, "data sets there: FLORENCE, LYHM, STIRLING"),
        ({"lists": "nowhere"}, "expected MICA's image list"),
        ({"init": "nowhere"}, "no such file"),
        ({"photos": 3}, "expected 3 photos or more, found 2"),
        ({"data_sets": ("FLORENCE",)}, "trained on as well"),
        ({"batch": 0}, "--batch: expected at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"head": "anthro"}, "FLAME 2020"),
    ],
)
def test_what_cannot_be_trained_is_one_line(whole, tmp_path, capsys, changes, words):
    given = options(whole, tmp_path / "out") | changes
    flags = []
    for name, value in given.items():
        if name != "root":
            values = value if isinstance(value, tuple) else (value,)
            flags += [f"--{name.replace('_', '-')}", *map(str, values)]
    assert main(["train-identity", str(given["root"]), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        err.splitlines()[-1]
    ]
    assert not (tmp_path / "out").exists()
