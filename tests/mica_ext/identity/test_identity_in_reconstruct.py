"""`reconstruct --identity`: the network's identity stays, or one line says why it cannot."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.identity_tiny import identity_head, identity_network, write_identity_pack
from PIL import Image

from flame_assets.model.head_io import save_head
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.cli import reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.errors import UserError
from mica_ext.reconstruct import Reconstructor
from pacofr.faces.detect import detect
from pacofr.images import load_image


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_identity_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def reconstructor(pack):
    return Reconstructor.load(pack)


@pytest.fixture(scope="module")
def crop(reconstructor):
    """ArcFace crop of the example photo as the reconstructor cuts it."""
    image = load_image(EXAMPLE)
    return reconstructor.align(image, [detect(image)[0]]).arcface


@pytest.fixture
def run(pack, capsys):
    def run(*arguments):
        fixed = ["--model", str(pack), "--keep-unsure"]
        code = reconstruct([str(argument) for argument in arguments] + fixed)
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("pose", ["--neutral", "--posed"])
def test_the_fit_keeps_the_network_s_identity_to_the_last_bit(run, crop, tmp_path, pose):
    files = ["--out", tmp_path / "a.obj", "--params", tmp_path / "a.json"]
    code, _, err = run("--example", *files, pose)
    assert code == 0, err
    content = json.loads((tmp_path / "a.json").read_text())
    with torch.no_grad():
        want = identity_network()(crop).shape
    got = torch.tensor([content["parameters"]["shape"]])
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert content["identity"]["name"] == "tiny"


def test_the_neutral_mesh_is_the_head_of_that_identity(reconstructor, crop):
    face = reconstructor(EXAMPLE, pose="neutral")
    decoder = HeadDecoder(identity_head())
    with torch.no_grad():
        shape = identity_network()(crop).shape
        want = decoder(HeadParameters.zeros(decoder.head)._replace(shape=shape)).vertices
    torch.testing.assert_close(face.mesh.vertices, want, rtol=0, atol=0)


def test_the_fit_still_places_the_head_and_moves_its_face(reconstructor, pack):
    """With a held identity, pose and expression bring the landmarks near those of a free fit."""
    held = reconstructor(EXAMPLE)
    free = Reconstructor.load(pack, identity="fit")(EXAMPLE)
    assert not torch.equal(held.parameters.head.shape, free.parameters.head.shape)
    assert free.provenance.identity is None
    assert held.signals.residual < 1.5 * free.signals.residual + 0.02


def test_a_face_s_identity_does_not_depend_on_the_other_faces(reconstructor, crop):
    predictor = reconstructor.identity
    both = predictor(torch.cat([crop.flip(-1), crop]))
    torch.testing.assert_close(both.shape[1:], predictor(crop).shape, rtol=0, atol=0)


def test_another_head_gets_one_line_or_the_fit(run, pack, tmp_path):
    toy = save_head(identity_head().__class__(**other_head()), tmp_path / "head")
    out = ["--out", tmp_path / "a.obj", "--head", toy]
    code, _, err = run("--example", *out, "--identity", "mica")
    assert (code, err.count("\n")) == (2, 1)
    assert "FLAME 2020" in err
    assert "--identity fit" in err
    assert not (tmp_path / "a.obj").exists()
    code, _, err = run("--example", *out, "--params", tmp_path / "a.json")
    assert code == 0, err
    assert "identity" not in json.loads((tmp_path / "a.json").read_text())


def other_head() -> dict:
    """The fields of the schematic head with another template: a later FLAME, say."""
    head = identity_head()
    fields = {name: getattr(head, name) for name in head.__dataclass_fields__}
    return fields | {"template": head.template * np.float32(1.01), "name": "later"}


def test_a_pack_without_identity_network_says_how_to_get_one(capsys, tmp_path):
    arguments = ["--example", "--out", str(tmp_path / "a.obj"), "--identity", "mica"]
    code = reconstruct([*arguments, "--head", "anthro"])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert "mica-ext import" in err


@pytest.fixture
def photos(tmp_path):
    """The example portrait, and the same one darker and mirrored."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(EXAMPLE, folder / "one.jpg")
    image = load_image(EXAMPLE)[:, ::-1] * 0.8
    Image.fromarray(image.astype(np.uint8)).save(folder / "two.png")
    return folder


def test_same_person_gives_all_photos_the_merged_identity(run, photos, tmp_path):
    out = tmp_path / "meshes"
    code, _, err = run(photos, "--out", out, "--params", out, "--same-person")
    assert code == 0, err
    assert "one identity from 2 photos: spread" in err
    shapes = [
        json.loads((out / f"{name}.params.json").read_text())["parameters"]["shape"]
        for name in ("one", "two")
    ]
    assert shapes[0] == shapes[1]
    alone = tmp_path / "alone"
    assert run(photos, "--out", alone, "--params", alone)[0] == 0
    assert json.loads((alone / "one.params.json").read_text())["parameters"]["shape"] != shapes[0]


@pytest.mark.parametrize("options", [["--face", "all"], ["--identity", "fit"]])
def test_same_person_refuses_what_contradicts_it(run, photos, tmp_path, options):
    code, _, err = run(photos, "--out", tmp_path / "meshes", "--same-person", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert "--same-person" in err


def test_photos_of_two_people_are_refused(reconstructor, photos, tmp_path):
    """Embeddings that point apart: the features' means are moved between the two photos'."""
    network = identity_network()
    paths = [photos / "one.jpg", photos / "two.png"]
    images = [load_image(path) for path in paths]
    crops = [reconstructor.align(image, [detect(image)[0]]).arcface for image in images]
    with torch.no_grad():
        features = network.arcface(torch.cat(crops))
    network.arcface.features.running_mean += features.mean(0)
    apart = Reconstructor.load(write_identity_pack(tmp_path / "other", network))
    with pytest.raises(UserError, match="shows another person"):
        apart.merge_photos(paths)
