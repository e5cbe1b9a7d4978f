"""`mica-ext import` and `pack`: whole packs, or one line that says what is wrong with the input."""

import json
import zipfile

import numpy as np
import parity_weights
import pytest
import torch
from helpers.identity_tiny import identity_network
from safetensors.torch import load_file

from flame_assets.formats.flame import convert_flame
from flame_assets.store import add_head
from mica_ext.cli import main
from mica_ext.errors import UserError
from mica_ext.identity.mica_file import read_mica
from mica_ext.identity.network import IdentityNetwork
from mica_ext.identity.weights import (
    load_identity_network,
    read_identity_config,
    save_identity_network,
)
from mica_ext.models.pack import PACK_FILE, SHIPPED, find_pack, load_pack

SEED = 1


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def content():
    """What mica.tar holds, with IResNet-100's shapes and no random numbers to make."""
    with torch.device("meta"):
        shapes = IdentityNetwork().state_dict()
    zero = torch.zeros(())  # repeated by strides of 0: the file stays small
    tensors = {k: zero.to(v.dtype).expand(v.shape) for k, v in shapes.items()}
    arcface = {k.removeprefix("arcface."): v for k, v in tensors.items() if "arcface." in k}
    regressor = {k: v for k, v in tensors.items() if "arcface." not in k}
    return {"arcface": arcface, "flameModel": regressor}


@pytest.fixture
def flame_2020(tmp_path):
    parity_weights.write_flame_pickle(tmp_path / "generic_model.pkl", SEED)
    parity_weights.write_landmark_embedding(tmp_path / "landmark_embedding.npy", SEED)
    return convert_flame(tmp_path / "generic_model.pkl")


def saved(tmp_path, content):
    torch.save(content, tmp_path / "mica.tar")
    return tmp_path / "mica.tar"


def test_import_makes_the_pack_that_auto_prefers(run, home, tmp_path, content, flame_2020):
    generator = {
        "generator.v_template": torch.from_numpy(np.array(flame_2020.template)),
        "generator.shapedirs": torch.from_numpy(
            np.concatenate([flame_2020.shape_basis, flame_2020.expression_basis], -1)
        ),
    }
    whole = content | {"flameModel": content["flameModel"] | generator}
    code, out, err = run("import", saved(tmp_path, whole))
    assert code == 0, err
    folder = home / "packs" / "mica"
    assert str(folder) in out
    assert "non-commercial" in out
    assert "flame-assets download flame2020" in out
    assert find_pack("auto") == SHIPPED  # its head is missing
    add_head(flame_2020)
    assert find_pack("auto") == folder
    pack = load_pack("mica")
    assert (pack.head, pack.landmarks) == ("flame2020", load_pack(SHIPPED).landmarks)
    assert pack.identity == folder / "identity"
    about = read_identity_config(pack.identity)
    assert about.template is not None
    assert about.sha256 in (folder / "README.md").read_text()
    held = load_file(pack.identity / "model.safetensors")
    assert held["arcface.fc.weight"].shape == (512, 25088)

    code, _, err = run("import", tmp_path / "mica.tar")
    assert (code, err.count("\n")) == (2, 1)
    assert "--overwrite" in err


def test_import_refuses_a_checkpoint_of_another_flame(run, home, tmp_path, content, flame_2020):
    add_head(flame_2020)
    later = torch.from_numpy(1.01 * np.array(flame_2020.template))
    basis = torch.from_numpy(np.array(flame_2020.shape_basis))
    other = {"generator.v_template": later, "generator.shapedirs": basis}
    whole = content | {"flameModel": content["flameModel"] | other}
    code, _, err = run("import", saved(tmp_path, whole))
    assert (code, err.count("\n")) == (2, 1)
    assert "FLAME 2020" in err
    assert not (home / "packs" / "mica").exists()


def without(content, entry, name):
    return content | {entry: {k: v for k, v in content[entry].items() if k != name}}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: without(c, "arcface", "layer3.29.bn3.bias"), "layer3.29.bn3.bias"),
        (lambda c: c | {"arcface": c["arcface"] | {"layer3.30.bn1.bias": torch.ones(2)}}, "30.bn1"),
        (lambda c: {"state_dict": c["arcface"]}, "lacks arcface, found state_dict"),
        (lambda c: c | {"arcface": c["arcface"] | {"bn1.bias": torch.ones(65)}}, r"shape \(65,\)"),
        (lambda c: c | {"arcface": c["arcface"] | {"bn1.bias": torch.full((64,), np.nan)}}, "NaN"),
        (lambda c: [1, 2], "lacks arcface"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path, content, damage, words):
    with pytest.raises(UserError, match=words):
        read_mica(saved(tmp_path, damage(content)))


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    (tmp_path / "page.tar").write_bytes(b"<!DOCTYPE html><html>sign in</html>")
    (tmp_path / "cut.tar").write_bytes(b"PK\x03\x04" + bytes(100))
    with zipfile.ZipFile(tmp_path / "antelopev2.tar", "w") as archive:
        archive.writestr("antelopev2/glintr100.onnx", b"-")
    for name, words in {
        "page.tar": "web page",
        "cut.tar": "zip archive",
        "antelopev2.tar": "no PyTorch checkpoint",
        "nothing.tar": "no such file",
    }.items():
        with pytest.raises(UserError, match=words):
            read_mica(tmp_path / name)


def test_saved_weights_are_the_same_to_the_last_bit(tmp_path):
    network = identity_network()
    save_identity_network(network, tmp_path, name="n", licence="L", made_by="m")
    loaded = load_identity_network(tmp_path)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    assert not loaded.training


def test_pack_puts_networks_together(run, tmp_path):
    network = tmp_path / "network"
    save_identity_network(identity_network(), network, name="mine", licence="L", made_by="me")
    code, out, err = run("pack", tmp_path / "mine", "--identity", network, "--head", "flame2020")
    assert code == 0, err
    pack = load_pack(tmp_path / "mine")
    assert (pack.name, pack.head) == ("mine", "flame2020")
    assert pack.licence.startswith("L; research only")
    assert "| identity | mine | `me` |" in (tmp_path / "mine" / "README.md").read_text()


def test_pack_refuses_a_corrupt_network_and_other_folders(run, tmp_path):
    network = tmp_path / "network"
    save_identity_network(identity_network(), network, name="mine", licence="L", made_by="me")
    data = bytearray((network / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (network / "model.safetensors").write_bytes(data)
    code, _, err = run("pack", tmp_path / "mine", "--identity", network)
    assert (code, err.count("\n")) == (2, 1)
    assert "damaged" in err
    code, _, err = run("pack", network, "--identity", network)
    assert (code, err.count("\n")) == (2, 1)
    assert "holds no pack" in err
    code, _, err = run("pack", tmp_path / "mine")
    assert (code, err.count("\n")) == (2, 1)
    assert "--identity" in err
    assert not (tmp_path / "mine").exists()


def write_pack(folder, **changes):
    content = {
        "format": "mica-ext pack", "version": 2, "name": "p", "licence": "L", "head": "auto",
        "landmarks": None, "identity": None,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / PACK_FILE).write_text(json.dumps(content | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 4}, "expected version 1 to 3, got 4; update"),
        ({"version": True}, "expected version 1 to 3"),
        ({"identity": "gone"}, "network folder .*gone is missing"),
        ({"format": "other"}, "format"),
        ({"head": 5}, "must be text"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_packs_of_other_kinds_are_one_line(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        load_pack(write_pack(tmp_path / "pack", **changes))


def test_a_pack_of_version_1_still_loads(tmp_path):
    """As the package shipped it before packs had an identity and an expression network."""
    first = {
        "format": "mica-ext pack",
        "version": 1,
        "name": "landmark-fit",
        "licence": "research only",
        "head": "auto",
        "landmarks": None,
    }
    (tmp_path / PACK_FILE).write_text(json.dumps(first))
    pack = load_pack(tmp_path)
    assert (pack.name, pack.identity, pack.expression) == ("landmark-fit", None, None)
    assert pack.landmarks == load_pack(SHIPPED).landmarks


def test_an_unknown_name_lists_the_known_ones(home):
    write_pack((home / "packs").mkdir(parents=True) or home / "packs" / "own")
    with pytest.raises(UserError, match="auto, anthro-expression, own or a folder"):
        load_pack("nobody")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 9}, "version 9"),
        ({"layers": [3, 13]}, "4 stages"),
        ({"layers": [1, 1, 1, 10**9]}, "4 stages"),
        ({"sha256": 5}, "must be text"),
    ],
)
def test_identity_configs_of_other_kinds_are_one_line(tmp_path, changes, words):
    save_identity_network(identity_network(), tmp_path, name="n", licence="L", made_by="m")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=words):
        read_identity_config(tmp_path)
