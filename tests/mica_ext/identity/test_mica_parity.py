"""MICA's checkpoint in its own layout gives the official code's figures (parity item `mica`)."""

import parity_compare
import parity_weights
import pytest
import torch

from flame_assets.formats.flame import convert_flame
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.identity.mica_file import read_mica

SEED = 1


@pytest.fixture(scope="module")
def official(parity_folder):
    return parity_compare.load(parity_folder, "mica")


@pytest.fixture(scope="module")
def mica_tar(tmp_path_factory):
    """mica.tar as MICA's trainer writes it, with the entries of a training that goes on."""
    path = tmp_path_factory.mktemp("mica") / "mica.tar"
    parts = parity_weights.mica_checkpoint(SEED).items()
    content = {name: parity_weights.realise_torch(tensors) for name, tensors in parts}
    more = {"opt": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "epoch": 3, "global_step": 900}
    torch.save(content | more, path)
    return path


@pytest.fixture(scope="module")
def mica(mica_tar):
    return read_mica(mica_tar)


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(parity_weights.image01("mica", SEED, 112, 2) * 2 - 1)


@pytest.fixture(scope="module")
def flame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flame")
    parity_weights.write_flame_pickle(folder / "generic_model.pkl", SEED)
    parity_weights.write_landmark_embedding(folder / "landmark_embedding.npy", SEED)
    return convert_flame(folder / "generic_model.pkl")


def test_the_network_and_its_mesh_are_mica_s(official, mica, images, flame):
    spec, want = official
    tolerance = spec["tolerance"]["all"]
    network = mica.network
    with torch.inference_mode():
        x = network.arcface.prelu(network.arcface.bn1(network.arcface.conv1(images)))
        for number in (1, 2, 3, 4):
            x = getattr(network.arcface, f"layer{number}")(x)
            assert parity_compare.summary_error(want, f"layer{number}", x.numpy()) < tolerance
        raw = network.arcface(images)
        identity = network(images)
        zeros = HeadParameters.zeros(flame, 2)
        mesh = HeadDecoder(flame)(zeros._replace(shape=identity.shape))
        frontal = HeadDecoder(flame).frontal_landmarks(mesh.vertices)
    for name, got in {
        "embedding_raw": raw,
        "embedding": identity.embedding,
        "shape_code": identity.shape,
        "vertices_every_7": mesh.vertices[:, ::7],
        "landmarks68": frontal,
        "landmarks7": frontal[:, [36, 39, 42, 45, 33, 48, 54]],
    }.items():
        assert parity_compare.error(want[name], got.numpy()) < tolerance, name
