"""Parameter files: the very same mesh again, and one line for everything that is none."""

import dataclasses
import json
import os

import pytest
import torch
from helpers.command_output import one_line
from helpers.mica_toy import toy_face, toy_head
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from flame_assets.model.head_io import save_head
from flame_assets.model.head_module import HeadDecoder
from mica_ext.cli import main
from mica_ext.errors import UserError
from mica_ext.export.face_json import Source, load_face, rebuild_mesh, save_face
from mica_ext.export.mesh_files import write_surface
from mica_ext.export.surface import surface_of
from mica_ext.models.pose import in_pose

HEAD = toy_head()
DECODER = HeadDecoder(HEAD)


@pytest.fixture
def path(tmp_path):
    save_face(tmp_path / "p.json", toy_face(HEAD))
    return tmp_path / "p.json"


@pytest.mark.parametrize("pose", ["expressive", "neutral", "posed"])
def test_a_parameter_file_rebuilds_the_very_same_mesh(tmp_path, pose):
    face = toy_face(HEAD, pose)
    with torch.inference_mode():
        mesh = DECODER(in_pose(face.parameters.head, pose))
    save_face(tmp_path / "p.json", face)
    again = load_face(tmp_path / "p.json")
    rebuilt = rebuild_mesh(again, DECODER)
    assert torch.equal(rebuilt.vertices, mesh.vertices)
    assert again._replace(parameters=None) == face._replace(parameters=None)
    assert torch.equal(again.parameters.camera.translation, face.parameters.camera.translation)
    write_surface(tmp_path / "a.obj", surface_of(HEAD, mesh.vertices[0].numpy()))
    write_surface(tmp_path / "b.obj", surface_of(HEAD, rebuilt.vertices[0].numpy()))
    assert (tmp_path / "a.obj").read_bytes() == (tmp_path / "b.obj").read_bytes()


def test_files_of_before_the_model_and_quality_keys_are_read(path):
    content = json.loads(path.read_text())
    del content["model"], content["quality"]
    path.write_text(json.dumps(content))
    face = load_face(path)
    assert face.provenance.model is None
    assert face.quality is None
    assert torch.equal(face.parameters.head.shape, toy_face(HEAD).parameters.head.shape)


def test_files_of_other_formats_versions_or_types_are_refused(path):
    content = json.loads(path.read_text())
    parameters, camera, head = content["parameters"], content["camera"], content["head"]
    for change, message in (
        ({"format": "else"}, "expected a file written by"),
        ({"version": 9}, "written in version 9"),
        ({"pose": "sideways"}, "not a whole .* pose must be one of"),
        ({"camera": {}}, "not a whole .* lacks"),
        ({"camera": []}, "not a whole .* expected the fields"),
        ({"fingerprint": {"template": 1.0}}, "not a whole .* lacks"),
        ({"fingerprint": [1.0]}, "not a whole"),
        ({"fingerprint": content["fingerprint"] | {"template": 10**400}}, "finite"),
        ({"photo": content["photo"] | {"size": [10**400, True]}}, "whole number, not True"),
        ({"camera": camera | {"centre_px": [1.0]}}, "must have 2 items, not 1"),
        ({"camera": camera | {"focal_px": 10**400}}, "focal_px must be a finite number"),
        ({"camera": camera | {"focal_px": 0.0}}, "focal_px: expected more than 0"),
        ({"photo": content["photo"] | {"size": [0, 480]}}, "size: expected 1 to 1000000"),
        ({"parameters": parameters | {"shape": [float("nan")]}}, "shape.* finite"),
        ({"parameters": parameters | {"shape": [1e300]}}, "shape: expected finite .* float32"),
        ({"parameters": parameters | {"shape": [[1.0]]}}, "shape.* must be a number"),
        ({"parameters": parameters | {"gaze": [0.0]}}, "missing or unknown: gaze"),
        ({"head": head | {"name": 5}}, "name must be text, not 5"),
        ({"head": head | {"name": ["a"]}}, "name must be text"),
        ({"head": head | {"name": "../../somewhere"}}, "expected the name of a head"),
        ({"extra": 1}, "does not know"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(UserError, match=message):
            load_face(path)


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"\x89PNG" + bytes(1000), b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe"]
)
def test_junk_is_refused_in_one_short_line(path, junk):
    path.write_bytes(junk)
    with pytest.raises(UserError, match="expected a file of `reconstruct --params`") as refusal:
        load_face(path)
    assert len(str(refusal.value)) < 400


def test_missing_endless_and_special_files_are_refused_at_once(tmp_path, capsys):
    os.mkfifo(tmp_path / "fifo")
    large = tmp_path / "large.json"
    with large.open("wb") as stream:
        stream.truncate(1 << 34)
    for source in ("/dev/zero", tmp_path / "fifo", tmp_path, large, tmp_path / "missing.json"):
        assert main(["rebuild", str(source), "-o", str(tmp_path / "a.ply")]) == 2
        assert str(source) in one_line(capsys.readouterr().err)
    assert not (tmp_path / "a.ply").exists()


def test_parameters_belong_to_one_head_only(path):
    content = json.loads(path.read_text())
    short = content["parameters"] | {"jaw_pose": [0.1]}
    path.write_text(json.dumps(content | {"parameters": short}))
    with pytest.raises(UserError, match="1 numbers as jaw_pose, the head toy has 3"):
        rebuild_mesh(load_face(path), DECODER)
    other = toy_face(HEAD)
    wrong = other.provenance._replace(head=Source("toy", "2", ""))
    with pytest.raises(UserError, match="belong to the head toy 2"):
        rebuild_mesh(other._replace(provenance=wrong), DECODER)
    head = other.parameters.head
    for name, value, message in (
        ("expression", 7.5, "7.5 as weight of"),
        ("shape", 1e30, "1e\\+30"),
    ):
        odd = head._replace(**{name: torch.full_like(getattr(head, name), value)})
        face = other._replace(parameters=other.parameters._replace(head=odd))
        with pytest.raises(UserError, match=message):
            rebuild_mesh(face, DECODER)
    basis = HEAD.shape_basis.copy()
    basis[7, 1, 0] += 1e-4
    with pytest.raises(UserError, match=r"another head of the name toy \(shape_basis differ\)"):
        rebuild_mesh(other, HeadDecoder(dataclasses.replace(HEAD, shape_basis=basis)))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, -(10**400), 1e308, "anthro", "\ud800", "\0"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@pytest.mark.slow
@seed(0)
@settings(
    max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_anywhere_rebuilds_or_is_one_line(tmp_path, capsys, data):
    """3,000 files with one or two values replaced; the command ends in a mesh or with one line."""
    face = tmp_path / "p.json"
    if not (tmp_path / "head").exists():
        save_head(HEAD, tmp_path / "head")
        save_face(tmp_path / "good.json", toy_face(HEAD))
    content = json.loads((tmp_path / "good.json").read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        part = content
        while True:
            keys = list(part) if isinstance(part, dict) else range(len(part))
            key = data.draw(st.sampled_from(list(keys)))
            deeper = isinstance(part[key], (dict, list)) and part[key]
            if not deeper or data.draw(st.booleans()):
                break
            part = part[key]
        part[key] = data.draw(VALUES)
    face.write_text(json.dumps(content))
    arguments = ["rebuild", str(face), "--head", str(tmp_path / "head"), "--overwrite"]
    code = main([*arguments, "-o", str(tmp_path / "a.ply")])
    out, err = capsys.readouterr()
    if code == 0:
        assert "->" in out
    else:
        assert code == 2
        assert len(one_line(err)) < 520
