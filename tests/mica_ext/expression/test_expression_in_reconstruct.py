"""The expression network in packs and in `reconstruct`: alone, and as the start of the fit."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.command_output import one_line
from helpers.expression_tiny import write_expression_network, write_expression_pack
from helpers.identity_tiny import identity_head

from flame_assets.model.head_io import save_head
from flame_assets.model.head_module import HeadDecoder
from mica_ext.cli import main, reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.errors import UserError
from mica_ext.export.face_json import load_face
from mica_ext.expression.crop_camera import anchor_of, crop_view
from mica_ext.expression.predictor import ExpressionPredictor
from mica_ext.models.pack import PACK_FILE, load_pack
from mica_ext.models.pose import in_pose
from mica_ext.models.projection import project
from mica_ext.reconstruct import Reconstructor
from pacofr.images import load_image

HEAD = identity_head()


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_expression_pack(tmp_path_factory.mktemp("pack") / "pack", HEAD)


@pytest.fixture(scope="module")
def unfitted(pack):
    return Reconstructor.load(pack, fit="none")


@pytest.fixture(scope="module")
def aligned(unfitted):
    image = load_image(EXAMPLE)
    return unfitted.align(image, unfitted.detect(image)[:1])


def test_a_branch_s_identity_stands_in_for_an_identity_network(aligned, tmp_path):
    folder = write_expression_network(tmp_path / "own", HEAD, identity=True)
    predictor = ExpressionPredictor(folder, HeadDecoder(HEAD), torch.device("cpu"))
    read = predictor.read(aligned).shape
    assert read.abs().sum() > 0
    assert torch.equal(predictor(aligned).head.shape, read)
    given = torch.ones(1, HEAD.shape_count)
    assert torch.equal(predictor(aligned, given).head.shape, given)
    assert torch.equal(predictor.movement(aligned).shape, torch.zeros_like(given))


def test_without_a_fit_the_head_moves_as_the_branch_says(unfitted, aligned):
    """Expression and gaze as they are read, and the head where the branch saw it in the crop."""
    predictor = unfitted.estimator.predictor
    output = predictor.read(aligned)
    estimate = unfitted.estimator(aligned)
    head, camera = estimate.parameters
    assert torch.equal(head.expression, output.expression.clamp(0, 1))
    assert torch.equal(head.jaw_pose, output.jaw_pose)
    assert torch.equal(head.left_eye_pose, output.left_eye_pose)
    assert torch.equal(head.shape, torch.zeros_like(head.shape))
    mesh = HeadDecoder(HEAD)(head)
    photo_px = project(camera, anchor_of(mesh.landmarks)[:, None])[0, 0]
    crop_px = crop_view(output.crop_pose, output.crop_camera).anchor_px[0]
    matrix = aligned.crop_to_image[0]
    torch.testing.assert_close(photo_px, matrix[:, :2] @ crop_px + matrix[:, 2], atol=0.05, rtol=0)
    assert float(estimate.residual[0]) > 0


@pytest.mark.parametrize("fit", ["none", "full"])
def test_the_neutral_mesh_is_mica_s_to_the_last_bit(pack, aligned, fit):
    with_branch = Reconstructor.load(pack, fit=fit)
    shape = with_branch.identity_of(aligned)
    found = with_branch.estimator(aligned, shape).parameters.head
    decoder = HeadDecoder(HEAD)
    with torch.no_grad():
        neutral = decoder(in_pose(found, "neutral")).vertices
        mica = decoder(in_pose(found._replace(shape=shape), "neutral")).vertices
    assert torch.equal(found.shape, shape)
    assert torch.equal(neutral, mica)
    assert found.expression.abs().sum() > 0


def test_a_face_does_not_depend_on_the_others_of_its_batch(unfitted, aligned):
    twice = type(aligned)(*(torch.cat([values, values.flip(-1)]) for values in aligned))
    alone, both = (unfitted.estimator.predictor.read(faces) for faces in (aligned, twice))
    for one, two in zip(alone, both, strict=True):
        assert torch.equal(one[0], two[0])


def test_what_made_a_face_is_said(pack, tmp_path, capsys):
    """As a user: --fit none from the pack, its parameter file, and the pack's card."""
    out = tmp_path / "face.obj"
    flags = ["--model", pack, "--fit", "none", "--params", tmp_path / "face.json", "--keep-unsure"]
    assert reconstruct([str(word) for word in (EXAMPLE, "--out", out, "-v", *flags)]) == 0
    assert "expression: tiny" in capsys.readouterr().out
    saved = load_face(tmp_path / "face.json")
    assert saved.provenance.expression is not None
    assert saved.provenance.expression.name == "tiny"
    folder = tmp_path / "packed"
    head = save_head(HEAD, tmp_path / "head")
    words = ["pack", folder, "--expression", pack / "expression", "--head", head, "--name", "mine"]
    assert main([str(word) for word in words]) == 0
    about = load_pack(folder)
    assert about.expression == folder / "expression"
    assert "| expression | tiny |" in (folder / "README.md").read_text()


def test_packs_of_earlier_versions_have_no_expression_network(pack, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(pack, folder)
    content = json.loads((folder / PACK_FILE).read_text())
    assert content.pop("expression") == "expression"
    (folder / PACK_FILE).write_text(json.dumps(content | {"version": 2}))
    assert load_pack(folder).expression is None
    with pytest.raises(UserError, match="--fit none: the pack with-identity has no expression"):
        Reconstructor.load(folder, fit="none")


def test_expression_networks_that_cannot_be_used_are_one_line(pack, tmp_path, capsys):
    other = write_expression_network(tmp_path / "other", HEAD)
    words = ["pack", tmp_path / "out", "--expression", other, "--head", "anthro"]
    assert main([str(word) for word in words]) == 2
    assert "reads the expressions of schematic 2020, got the head anthro" in one_line(
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
    folder = tmp_path / "damaged"
    shutil.copytree(pack, folder)
    weights = folder / "expression" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        Reconstructor.load(folder)
    shutil.rmtree(folder / "expression")
    with pytest.raises(UserError, match="its network folder .* is missing"):
        Reconstructor.load(folder)


def test_a_pack_for_another_head_is_fitted_without_it(pack, tmp_path):
    """As the identity network: another --head takes neither, and --fit none says why it cannot."""
    plain = Reconstructor.load(pack, head="anthro")
    assert plain.estimator.predictor is None
    assert plain.provenance.expression is None
    with pytest.raises(UserError, match="reads the expressions of schematic"):
        Reconstructor.load(pack, head="anthro", fit="none")
    assert np.isfinite(plain.head.template).all()
