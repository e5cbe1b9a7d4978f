"""Mesh and landmark files, read back by independent readers: trimesh and pygltflib."""

import json
import os
import stat

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from helpers.mica_toy import toy_face, toy_head

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.export.blendshapes import morphs
from mica_ext.export.face_mesh import save_mesh
from mica_ext.export.gltf.glb import MorphTarget, glb_bytes
from mica_ext.export.landmarks_json import save_landmarks
from mica_ext.export.mesh_files import write_surface
from mica_ext.export.surface import Surface
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pose import in_pose

HEAD = toy_head()
DECODER = HeadDecoder(HEAD)
SURFACE = Surface(HEAD.template, HEAD.triangles, HEAD.colours, HEAD.uv, HEAD.uv_triangles)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl"])
@pytest.mark.parametrize(("unit", "scale"), [("mm", 1000), ("cm", 100), ("m", 1)])
def test_every_format_holds_the_same_triangles_in_the_unit_asked_for(tmp_path, suffix, unit, scale):
    path = tmp_path / f"head{suffix}"
    write_surface(path, SURFACE, unit, ["head: toy"])
    read = trimesh.load(path, process=False, force="mesh", maintain_order=True)
    np.testing.assert_allclose(
        read.triangles, HEAD.template[HEAD.triangles] * scale, rtol=3e-6, atol=1e-7 * scale
    )
    assert read.volume > 0  # corners still counter-clockwise seen from outside


@pytest.mark.parametrize("suffix", [".off", ".3mf", ".dae"])
def test_trimesh_reads_back_what_it_wrote_in_the_unit_of_the_format(tmp_path, suffix):
    path = tmp_path / f"head{suffix}"
    unit = {".3mf": "mm", ".dae": "m"}.get(suffix, "cm")
    save_mesh(path, DECODER, toy_face(HEAD).parameters, "neutral", neutral_mesh(), unit)
    read = trimesh.load(path, process=False, force="mesh", maintain_order=True)
    scale = {"mm": 1000, "cm": 100, "m": 1}[unit]
    expected = neutral_mesh().vertices[0].numpy()[HEAD.triangles] * scale
    np.testing.assert_allclose(read.triangles, expected, rtol=3e-6, atol=1e-7 * scale)
    if suffix == ".3mf":
        assert read.units == "millimeter"
    elif suffix == ".dae":
        assert read.units == "meters"


@pytest.mark.parametrize(
    ("name", "unit", "word"),
    [
        ("a.fbx", None, r"ending in \.obj, \.ply, \.stl, \.glb, \.off"),
        ("a.GLB", "mm", "GLB files are in metres by definition"),
        ("a.3mf", "m", "3MF files are in millimetres by definition"),
    ],
)
def test_formats_and_units_that_cannot_be_are_refused(tmp_path, name, unit, word):
    with pytest.raises(UserError, match=word):
        save_mesh(
            tmp_path / name, DECODER, toy_face(HEAD).parameters, "neutral", neutral_mesh(), unit
        )
    assert not list(tmp_path.iterdir())


def neutral_mesh():
    return DECODER(in_pose(toy_face(HEAD).parameters.head, "neutral"))


def test_the_unit_and_the_notes_stand_in_the_header(tmp_path):
    for suffix in (".obj", ".ply"):
        write_surface(tmp_path / f"a{suffix}", SURFACE, "cm", ["head: toy 1"])
        start = (tmp_path / f"a{suffix}").read_bytes()[:300]
        assert b"unit: cm" in start
        assert b"head: toy 1" in start
    write_surface(tmp_path / "a.stl", SURFACE, "cm")
    start = (tmp_path / "a.stl").read_bytes()[:80]
    assert b"unit: cm" in start
    assert not start.startswith(b"solid")


def test_obj_and_ply_keep_the_vertex_order_texture_and_colours(tmp_path):
    write_surface(tmp_path / "a.obj", SURFACE)
    lines = (tmp_path / "a.obj").read_text().splitlines()
    vertices = [list(map(float, line.split()[1:])) for line in lines if line.startswith("v ")]
    np.testing.assert_allclose(vertices, HEAD.template * 1000, rtol=0, atol=6e-5)
    faces = [line.split()[1:] for line in lines if line.startswith("f ")]
    corners = np.array([[part.split("/") for part in face] for face in faces], int) - 1
    np.testing.assert_array_equal(corners[:, :, 0], HEAD.triangles)
    np.testing.assert_array_equal(corners[:, :, 1], HEAD.uv_triangles)
    write_surface(tmp_path / "a.ply", SURFACE)
    read = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_allclose(
        read.visual.vertex_colors[:, :3] / 255, HEAD.colours, atol=0.5 / 255 + 1e-6
    )


def sparse_offsets(document, accessor):
    """Decode a sparse accessor: the offsets of all vertices."""
    blob = document.binary_blob()
    assert accessor.bufferView is None

    def part(item, kind):
        view = document.bufferViews[item.bufferView]
        return np.frombuffer(blob[view.byteOffset : view.byteOffset + view.byteLength], kind)

    offsets = np.zeros((accessor.count, 3), np.float32)
    rows = part(accessor.sparse.indices, "<u4")
    assert (np.diff(rows.astype(int)) > 0).all()
    offsets[rows] = part(accessor.sparse.values, "<f4").reshape(-1, 3)
    return offsets


def read_accessor(document, index, kind, width):
    accessor = document.accessors[index]
    view = document.bufferViews[accessor.bufferView]
    blob = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    return np.frombuffer(blob, kind).reshape(accessor.count, width)


def test_glb_holds_the_base_and_every_expression_in_metres(tmp_path):
    targets = [
        MorphTarget(name, np.ascontiguousarray(HEAD.expression_basis[..., k]))
        for k, name in enumerate(HEAD.expression_names)
    ]
    targets.append(MorphTarget("nothing", np.zeros_like(HEAD.template)))
    write_bytes_atomic(tmp_path / "a.glb", glb_bytes(SURFACE, targets, "toy licence"))
    document = pygltflib.GLTF2().load(tmp_path / "a.glb")
    primitive = document.meshes[0].primitives[0]
    assert document.meshes[0].extras["targetNames"] == [*HEAD.expression_names, "nothing"]
    assert document.meshes[0].weights == [0.0] * 4
    assert document.asset.copyright == "toy licence"
    points = read_accessor(document, primitive.attributes.POSITION, "<f4", 3)
    corners = read_accessor(document, primitive.indices, "<u4", 1).reshape(-1, 3)
    np.testing.assert_array_equal(points[corners], HEAD.template[HEAD.triangles])
    accessor = document.accessors[primitive.attributes.POSITION]
    np.testing.assert_allclose(accessor.max, HEAD.template.max(axis=0))
    uv = read_accessor(document, primitive.attributes.TEXCOORD_0, "<f4", 2)
    expected = HEAD.uv[HEAD.uv_triangles] * [1, -1] + [0, 1]
    np.testing.assert_allclose(uv[corners], expected, atol=1e-6)
    for target, entry in zip(targets, primitive.targets, strict=True):
        accessor = document.accessors[entry["POSITION"]]
        offsets = sparse_offsets(document, accessor)
        np.testing.assert_allclose(offsets[corners], target.offsets[HEAD.triangles], atol=1.1e-6)
        np.testing.assert_array_equal(accessor.min, offsets.min(axis=0))
        np.testing.assert_array_equal(accessor.max, offsets.max(axis=0))


def test_a_glbs_weights_make_the_face_and_zeros_its_neutral(tmp_path):
    parameters = in_pose(toy_face(HEAD).parameters.head, "expressive")
    flame = HeadDecoder(HEAD)
    rest, targets, _ = morphs(DECODER, parameters)
    neutral = HeadParameters.zeros(HEAD)._replace(shape=parameters.shape)
    torch.testing.assert_close(rest, flame(neutral).vertices[0])
    assert [target.name for target in targets] == [*HEAD.expression_names, "photo"]
    shown = rest.numpy() + sum(target.weight * target.offsets for target in targets)
    np.testing.assert_allclose(shown, flame(parameters).vertices[0].numpy(), atol=1e-6)
    one = HeadParameters.zeros(HEAD)._replace(shape=parameters.shape)
    one.expression[0, 1] = 1.0
    alone = flame(one).vertices[0].numpy() - rest.numpy()
    np.testing.assert_allclose(targets[1].offsets, alone, atol=1e-6)

    save_mesh(
        tmp_path / "a.glb",
        DECODER,
        toy_face(HEAD).parameters,
        "expressive",
        flame(parameters),
    )
    document = pygltflib.GLTF2().load(tmp_path / "a.glb")
    weights = document.meshes[0].weights
    np.testing.assert_allclose(weights, [*parameters.expression[0].tolist(), 1.0], rtol=1e-6)
    position = document.meshes[0].primitives[0].attributes.POSITION
    np.testing.assert_allclose(
        document.accessors[position].max, rest.numpy().max(axis=0), atol=1e-7
    )


def test_a_neutral_glb_has_nothing_left_over():
    parameters = in_pose(toy_face(HEAD).parameters.head, "neutral")
    _, targets, _ = morphs(DECODER, parameters)
    assert [target.name for target in targets] == list(HEAD.expression_names)
    assert all(target.weight == 0.0 for target in targets)


def test_poses_let_through_what_they_promise():
    flame, head = HeadDecoder(HEAD), toy_face(HEAD).parameters.head
    neutral = flame(in_pose(head, "neutral")).vertices[0].numpy()
    np.testing.assert_allclose(
        neutral, HEAD.template + HEAD.shape_basis @ head.shape[0].numpy(), atol=1e-6
    )
    expressive = in_pose(head, "expressive")
    assert not expressive.global_pose.any()
    assert not expressive.neck_pose.any()
    assert torch.equal(expressive.jaw_pose, head.jaw_pose)
    assert torch.equal(expressive.expression, head.expression)
    assert in_pose(head, "posed") is head


def test_the_landmark_file_holds_68_and_the_now_7_in_the_unit(tmp_path):
    mesh = HeadDecoder(HEAD)(HeadParameters.zeros(HEAD))
    seen = torch.zeros(68, 2), torch.full((478, 2), 5.0)
    save_landmarks(tmp_path / "l.json", mesh, *seen, "mm")
    content = json.loads((tmp_path / "l.json").read_text())
    points = np.array(content["landmarks68"])
    np.testing.assert_allclose(points, mesh.landmarks[0].numpy() * 1000, rtol=1e-5)
    np.testing.assert_array_equal(content["landmarks7"], points[[36, 39, 42, 45, 33, 48, 54]])
    assert content["unit"] == "mm"
    assert np.shape(content["landmarks68_px"]) == (68, 2)
    assert np.shape(content["points478_px"]) == (478, 2)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.obj"
    path.write_text("old")
    monkeypatch.setattr(
        os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(UserError, match="No space left"):
        write_surface(path, SURFACE)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.obj"]


def test_files_get_the_usual_rights_and_bad_places_one_line(tmp_path):
    write_bytes_atomic(tmp_path / "a.txt", b"x")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask
    for bad in (tmp_path / "missing" / "a.obj", tmp_path / "a.txt" / "b.obj"):
        with pytest.raises(UserError, match="cannot be written"):
            write_surface(bad, SURFACE)
    with pytest.raises(UserError, match="expected a mesh name ending in"):
        write_surface(tmp_path / "a.fbx", SURFACE)
