"""Pages: self-contained, safe whatever the names in them, and the same mesh as the decoder's."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from helpers.mica_toy import toy_face, toy_head
from helpers.page_data import Page

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.export.clip_json import SavedClip, Smoothing, VideoEntry
from mica_ext.models.pose import in_pose
from mica_ext.models.types import Camera, FaceParameters
from mica_ext.render.textured import TexturedMesh
from mica_ext.viewer.buffers import quantise
from mica_ext.viewer.clip_page import clip_scene
from mica_ext.viewer.display import has_screen, open_page
from mica_ext.viewer.face_page import face_page, face_scene, photo_view
from mica_ext.viewer.page import ASSETS, DRAWING
from mica_ext.viewer.scene import Animation

HEAD = toy_head(2)
DECODER = HeadDecoder(HEAD)
MICROMETRE = 1e-6
LIGHT = np.geomspace(0.1, 3.0, HEAD.vertices_count).astype(np.float32)
"""Of the photo, per vertex."""


@pytest.fixture(scope="module")
def parameters():
    head = toy_face(HEAD).parameters.head
    pose = torch.tensor([[0.1, 0.4, -0.1]])
    camera = toy_face(HEAD).parameters.camera
    return FaceParameters(
        head._replace(global_pose=pose, neck_pose=pose / 2, jaw_pose=pose / 3), camera
    )


@pytest.fixture(scope="module")
def page(parameters):
    picture = np.full((32, 32, 3), 120, np.uint8)
    texture = TexturedMesh(picture, HEAD.uv, HEAD.uv_triangles, LIGHT)
    photo = photo_view(np.zeros((60, 80, 3), np.uint8), parameters, (20.0, 15.0, 50.0, 45.0))
    times = np.array([0.0, 0.5, 2.0])
    names = len(HEAD.expression_names) + 1  # and what they leave over
    rows = np.linspace(0, 1, 3 * names).reshape(3, names)
    turns = np.linspace(-0.5, 0.5, 45).reshape(3, 5, 3)
    clip = Animation(times, rows, turns)
    scene = face_scene(
        DECODER,
        parameters,
        title="</script><script>alert(1)</script> & <b>.jpg",
        notes=["a <i>note</i>"],
        texture=texture,
        photo=photo,
        animation=clip,
    )
    return Page(face_page(scene))


def test_a_page_asks_for_nothing_outside_itself(page):
    links = [value for _, name, value in page.attributes if name in ("src", "href", "action")]
    assert links == []
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert "@import" not in page.text
    (policy,) = [value for _, name, value in page.attributes if value.startswith("default-src")]
    assert policy.startswith("default-src 'none'")
    for picture in (page.data["texture"], page.data["photo"]["image"]):
        assert picture.startswith("data:image/jpeg;base64,")


def test_names_cannot_leave_their_places(page):
    assert page.title == "</script><script>alert(1)</script> & <b>.jpg"
    assert page.data["title"] == page.title
    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]


def test_the_shown_mesh_is_the_decoders(page, parameters):
    expected = DECODER(in_pose(parameters.head, "expressive")).vertices[0].numpy()
    np.testing.assert_allclose(page.morphed(), expected, atol=2 * MICROMETRE)
    mesh = page.data["mesh"]
    source, corners = page.buffer(mesh["source"]), page.buffer(mesh["triangles"])
    np.testing.assert_array_equal(source[corners].reshape(-1, 3), HEAD.triangles)
    uv = page.buffer(mesh["uv"]).reshape(-1, 2)[corners].reshape(-1, 3, 2)
    np.testing.assert_allclose(1 - uv[..., 1], HEAD.uv[HEAD.uv_triangles][..., 1], atol=1e-6)


def test_the_photos_light_is_in_the_page(page):
    """4 (byte / 255)^2, as the format says."""
    bytes_ = page.buffer(page.data["mesh"]["light"])
    np.testing.assert_allclose(4 * (bytes_ / 255) ** 2, LIGHT, rtol=0.03)


def test_quantised_values_are_half_a_step_away():
    values = np.random.default_rng(0).normal(size=(50, 3))
    integers, scale = quantise(values)
    assert np.abs(integers * scale - values).max() <= scale / 2 * (1 + 1e-9)
    assert quantise(np.zeros((0, 3))).integers.shape == (0, 3)


@pytest.mark.skipif(shutil.which("node") is None, reason="missing: node")
def test_the_scripts_deform_as_the_decoder_does(page, parameters):
    """The page's own JavaScript, with the head turned as in the photo, and a clip's state."""
    scripts = "\n".join((ASSETS / name).read_text() for name in DRAWING)
    program = (
        scripts
        + """
        const scene = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const read = bufferReader(scene), mesh = decodeMesh(scene.mesh, read);
        const weights = mesh.targets.map((target) => target.weight);
        const clip = decodeAnimation(scene.animation, read, weights.length, 5);
        const points = deform(mesh, weights, scene.photo.rotations);
        console.log(JSON.stringify({
          points: Array.from(points), end: clip.end,
          state: { weights: Array.from(clip.at(1.25).weights), rotations: clip.at(1.25).rotations },
        }));"""
    )
    done = subprocess.run(
        ["node", "-e", program],
        input=json.dumps(page.data),
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    head = parameters.head._replace()
    expected = DECODER(head).vertices[0].numpy()
    # Turns of the jaw are a linear target, made before the head turns: equal but for rounding.
    np.testing.assert_allclose(
        np.array(told["points"]).reshape(-1, 3), expected, atol=20 * MICROMETRE
    )
    rows = np.linspace(0, 1, 3 * len(told["state"]["weights"])).reshape(3, -1)
    assert told["end"] == 2.0
    np.testing.assert_allclose(told["state"]["weights"], rows[1:].mean(0), atol=1e-4)
    turns = np.linspace(-0.5, 0.5, 45).reshape(3, 5, 3)
    np.testing.assert_allclose(told["state"]["rotations"], turns[1:].mean(0), atol=1e-4)


@pytest.mark.skipif(shutil.which("node") is None, reason="missing: node")
def test_a_clips_page_moves_as_the_decoder_does():
    """Frames at rest, turned, and with an expression; a file's joints do not move with those."""
    still = HeadParameters.zeros(HEAD)
    values = toy_face(HEAD).parameters.head
    turned = values._replace(expression=still.expression)
    expressive = still._replace(expression=values.expression)
    frames = zip(still, turned, expressive, strict=True)
    moved = HeadParameters(*(torch.cat(rows) for rows in frames))
    moved = moved._replace(shape=values.shape.expand(3, -1))
    one = toy_face(HEAD)
    camera = Camera(*(values.expand(3, *values.shape[1:]) for values in one.parameters.camera))
    clip = SavedClip(
        FaceParameters(moved, camera),
        np.array([0.0, 0.04, 0.1]),
        ("tracked",) * 3,
        np.ones(3),
        ((0, 3),),
        HEAD.expression_names,
        VideoEntry("talk.mp4", (64, 48)),
        Smoothing("none", 0.1, 0.0),
        one.quality,
        one.provenance,
        one.fingerprint,
    )
    page = Page(face_page(clip_scene(DECODER, clip)))
    scripts = "\n".join((ASSETS / name).read_text() for name in DRAWING)
    program = (
        scripts
        + """
        const scene = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const read = bufferReader(scene), mesh = decodeMesh(scene.mesh, read);
        const clip = decodeAnimation(scene.animation, read, mesh.targets.length, 5);
        const shown = [0, 0.04, 9].map((time) => clip.at(time));
        console.log(JSON.stringify(shown.map(
          (state) => Array.from(deform(mesh, state.weights, state.rotations)))));"""
    )
    done = subprocess.run(
        ["node", "-e", program],
        input=json.dumps(page.data),
        capture_output=True,
        text=True,
        check=True,
    )
    expected = DECODER(moved).vertices.numpy()
    points = np.array(json.loads(done.stdout)).reshape(expected.shape)
    np.testing.assert_allclose(points, expected, atol=50 * MICROMETRE)


@pytest.mark.skipif(shutil.which("node") is None, reason="missing: node")
def test_the_photos_camera_projects_as_the_package_does(page, parameters):
    from mica_ext.models.projection import project

    scripts = "\n".join((ASSETS / name).read_text() for name in DRAWING)
    program = (
        scripts
        + """
        const { photo } = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const box = { centre: [0.01, 0.02, 0.03] };
        const area = { x: 0, y: 0, width: photo.size[0], height: photo.size[1] };
        const camera = photoCamera(photo, box, frontOrbit(), area);
        const clip = clipMatrix(camera, area.width, area.height);
        const p = [0.05, -0.04, 0.09].map((v, k) => v - camera.pivot[k] + camera.offset[k]);
        const row = (r) => clip[r] * p[0] + clip[4 + r] * p[1] + clip[8 + r] * p[2] + clip[12 + r];
        const [x, y] = [row(0) / row(3), row(1) / row(3)];
        console.log(JSON.stringify([(x + 1) / 2 * area.width, (1 - y) / 2 * area.height]));"""
    )
    done = subprocess.run(
        ["node", "-e", program],
        input=json.dumps(page.data),
        capture_output=True,
        text=True,
        check=True,
    )
    left_top = np.array(json.loads(done.stdout)) - 0.5  # centres of pixels are whole numbers here
    expected = project(parameters.camera, torch.tensor([[[0.05, -0.04, 0.09]]]))[0, 0].numpy()
    np.testing.assert_allclose(left_top, expected, atol=0.01)


def test_a_machine_without_a_screen_opens_nothing(tmp_path, monkeypatch):
    assert has_screen({}, "darwin")
    assert has_screen({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert not has_screen({"DISPLAY": ""}, "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert open_page(tmp_path / "page.html") is False
