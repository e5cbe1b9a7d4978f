"""The shipped model on the example portrait, judged by what it was not made from."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from eval_now.geometry.raster import rasterize
from flame_assets.store import load_head
from mica_ext.cli import reconstruct
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.models.projection import project
from mica_ext.models.types import AlignedFace
from mica_ext.reconstruct import Reconstructor
from mica_ext.render.overlay import HEIGHT_PX, face_weights
from mica_ext.render.views import View, screen_points
from pacofr.faces.detect import detect
from pacofr.images import load_image

FIVE = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))


@pytest.fixture(scope="module")
def reconstructor():
    return Reconstructor.load("auto", head="anthro")


@pytest.fixture(scope="module")
def example(reconstructor):
    return reconstructor(EXAMPLE)


def test_the_posed_head_meets_the_detectors_five_points(reconstructor, example):
    """MTCNN's eyes, nose and mouth corners are independent of the landmark network's training."""
    with torch.inference_mode():
        mesh = reconstructor.decoder(example.parameters.head)
        points = project(example.parameters.camera, mesh.landmarks)[0].numpy()
    five = np.stack([points[part].mean(axis=0) for part in FIVE])
    detected = example.face.points
    eyes = np.linalg.norm(detected[1] - detected[0])
    assert np.linalg.norm(five - detected, axis=1).max() < 0.16 * eyes
    network = example.landmarks_px.numpy()
    outer = np.linalg.norm(network[45] - network[36])
    assert np.linalg.norm(points - network, axis=1).mean() < 0.07 * outer


def test_the_smiling_portrait_gets_a_smile_and_a_human_size(example):
    weights = dict(
        zip(example.head.expression_names, example.parameters.head.expression[0], strict=True)
    )
    assert weights["mouthSmileLeft"] + weights["mouthSmileRight"] > 0.5
    eyes = example.mesh.landmarks[0, 42:48].mean(0) - example.mesh.landmarks[0, 36:42].mean(0)
    assert 0.052 < float(eyes.norm()) < 0.075  # metres between the pupils


def test_the_overlay_draws_the_head_where_the_camera_saw_it(example):
    picture = example.overlay(load_image(EXAMPLE))
    assert picture.shape[0] == HEIGHT_PX
    left, width = picture.shape[1] - 3 * round(0.86 * HEIGHT_PX), picture.shape[1]
    photo, drawn = picture[:, : left // 2].astype(int), picture[:, left // 2 : left].astype(int)
    assert width > left > HEIGHT_PX
    changed = np.abs(photo - drawn).max(axis=2) > 8
    assert 0.1 < changed.mean() < 0.35  # the face, and nothing of the hair and the suit
    assert not changed[: HEIGHT_PX // 8].any()
    assert not changed[-HEIGHT_PX // 8 :].any()
    # the photo itself would show the same pixels everywhere; the mesh covers the face only
    with torch.inference_mode():
        posed = example.decoder(example.parameters.head)
    view = View.from_camera(example.parameters.camera)
    screen = screen_points(view, posed.vertices[0].numpy())
    covered = rasterize(screen, example.head.triangles, 512, 512).triangles >= 0
    x0, y0, x1, y1 = example.face.box.astype(int)
    assert covered[y0 + 15 : y1 - 5, x0 + 15 : x1 - 15].mean() > 0.97
    assert covered.mean() < 0.2


def test_a_head_without_a_marked_face_is_shown_whole(example):
    regions = {name: ids for name, ids in example.head.regions.items() if "eyeball" in name}
    unmarked = dataclasses.replace(example.head, regions=regions)
    assert (face_weights(unmarked) == 1).all()
    marked = face_weights(example.head)
    assert (marked[example.head.regions["nose"]] > 0.9).all()
    assert (marked[example.head.regions["scalp"]] < 0.4).mean() > 0.8


def test_the_trimesh_is_the_mesh_with_its_colours_and_unit(example):
    mesh = example.trimesh()
    np.testing.assert_allclose(mesh.vertices, example.mesh.vertices[0].numpy(), atol=1e-9)
    np.testing.assert_array_equal(mesh.faces, example.head.triangles)
    assert mesh.units == "meters"
    colours = mesh.visual.vertex_colors[:, :3] / 255  # type: ignore[union-attr]
    np.testing.assert_allclose(colours, example.head.colours, atol=0.5 / 255 + 1e-6)
    assert example.trimesh("mm").extents == pytest.approx(1000 * mesh.extents)


def test_faces_of_several_photos_are_estimated_as_one_batch(reconstructor, example):
    """Collation keeps the faces apart: each is estimated as it is alone in its own photo."""
    image = load_image(EXAMPLE)
    wide = np.full((600, 1100, 3), 128, np.uint8)
    wide[40:552, 500:1012] = image
    photos = [(image, detect(image)[0]), (wide, detect(wide)[0])]
    aligned = [reconstructor.align(photo, [face]) for photo, face in photos]
    single = [reconstructor.estimator(face) for face in aligned]
    batch = AlignedFace(*(torch.cat(values) for values in zip(*aligned, strict=True)))
    together = reconstructor.estimator(batch)
    assert batch.arcface.shape == (2, 3, 112, 112)
    assert batch.crop.shape == (2, 3, 224, 224)
    assert batch.image_size.tolist() == [[512, 512], [600, 1100]]
    for index, alone in enumerate(single):
        head, camera = together.parameters.select(index)
        torch.testing.assert_close(head, alone.parameters.head, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(camera, alone.parameters.camera, rtol=1e-5, atol=1e-5)
    assert camera.centre_px.tolist() == [[549.5, 299.5]]


def test_results_can_be_refined_by_gradients(reconstructor, example):
    shape = example.parameters.head.shape.clone().requires_grad_()
    mesh = reconstructor.decoder(example.parameters.head._replace(shape=shape))
    (mesh.landmarks - example.mesh.landmarks).square().sum().backward()
    assert shape.grad is not None
    assert example.landmarks_px.requires_grad_().requires_grad
    assert not example.landmarks_px.requires_grad_(False).requires_grad


def test_the_fit_says_how_sure_it_is(reconstructor, example):
    assert example.signals.confidence > 0.9
    assert example.signals.hidden == []
    assert 0.0 < example.signals.residual < 0.07
    assert len(example.provenance.weights.version) == 12


def test_arrays_paths_and_choices_give_the_same_face(reconstructor, example):
    image = load_image(EXAMPLE)
    again = reconstructor.faces(image, "center")[0]
    torch.testing.assert_close(again.mesh.vertices, example.mesh.vertices)
    neutral = reconstructor(image, pose="neutral")
    assert torch.equal(neutral.parameters.head.shape, again.parameters.head.shape)
    assert (neutral.mesh.vertices - again.mesh.vertices).abs().max() > 0.003
    assert example.photo_size == (512, 512)
    assert example.provenance.head.name == "anthro"
    assert "research only" in example.provenance.weights.licence


def test_a_photo_that_is_moved_and_scaled_gives_the_same_head(reconstructor, example):
    image = load_image(EXAMPLE)
    canvas = np.full((900, 1000, 3), 128, np.uint8)
    canvas[200:712, 300:812] = image
    moved = reconstructor(canvas)
    shift = moved.landmarks_px - example.landmarks_px - torch.tensor([300.0, 200.0])
    assert float(shift.norm(dim=1).mean()) < 2.5  # the detector's own jitter
    difference = (moved.mesh.vertices - example.mesh.vertices).norm(dim=-1)
    assert float(difference.mean()) < 0.003


def test_the_example_command_needs_no_arguments(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert reconstruct(["--example", "--head", "anthro", "-v"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"astronaut.obj", "astronaut.png"}
    assert "research only" in capsys.readouterr().out
    assert reconstruct(["--example"]) == 2  # the files exist now


@pytest.mark.slow
def test_real_photos_never_crash(shared_data, tmp_path):
    photos = sorted((shared_data / "helen" / "testset").glob("*.jpg"))[:24]
    folder = tmp_path / "in"
    folder.mkdir()
    for photo in photos:
        shutil.copy(photo, folder)
    code = reconstruct([str(folder), "--out", str(tmp_path / "o"), "--params", str(tmp_path / "o")])
    assert code in (0, 3)
    done = list((tmp_path / "o").glob("*.obj"))
    assert len(done) >= 0.95 * len(photos)
    head = load_head("auto")
    for path in (tmp_path / "o").glob("*.json"):
        shape = json.loads(path.read_text())["parameters"]["shape"]
        assert len(shape) == head.shape_count
        assert np.isfinite(shape).all()
