"""The files of `reconstruct clip.mp4` against the rendered clip's truth and against each other."""

import json

import numpy as np
import pytest
import torch
from helpers.glb import AnimatedGlb
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from flame_assets.model.head_module import HeadParameters
from mica_ext.conversion.arkit_files import read_live_link
from mica_ext.conversion.live_link_angles import rotation_vectors
from mica_ext.conversion.motion import ARKIT_NAMES
from mica_ext.export.clip_json import load_clip
from mica_ext.video_files.reader import VideoReader


@pytest.fixture(scope="module")
def clip(results):
    return load_clip(results / "clip.json")


@pytest.fixture(scope="module")
def truth(filmed):
    return load_clip(filmed.with_suffix(".truth.json"))


def test_the_clip_is_told_whole(clip, truth):
    np.testing.assert_allclose(clip.times_s, truth.times_s, atol=1e-3)
    assert clip.states.count("held") == 0
    assert clip.shots == ((0, len(clip.times_s)),)
    assert clip.video == truth.video
    assert clip.smoothing.lag_s == 0
    head = clip.parameters.head
    assert torch.equal(head.shape, head.shape[:1].expand(len(clip.times_s), -1))


def test_the_face_moves_as_the_rendered_one(clip, truth):
    for name, least in (("jawOpen", 0.4), ("eyeBlinkLeft", 0.8)):
        column = clip.expression_names.index(name)
        wanted, got = (each.parameters.head.expression[:, column] for each in (truth, clip))
        assert np.corrcoef(wanted, got)[0, 1] > least, name
    wanted, got = (each.parameters.head.global_pose for each in (truth, clip))
    difference = (got - got.mean(0)) - (wanted - wanted.mean(0))
    assert np.degrees(float(difference.norm(dim=1).max())) < 5


def test_the_animated_glb_is_the_head_of_every_frame(results, clip, student):
    glb = AnimatedGlb(results / "clip.glb")
    np.testing.assert_allclose(glb.times_s, clip.times_s, atol=1e-4)
    head, camera = clip.parameters
    mean = camera.translation.mean(0).numpy()
    with torch.no_grad():
        person = HeadParameters.zeros(student.head)._replace(shape=head.shape[:1])
        source = KDTree(student.decoder(person).vertices[0].numpy()).query(glb.rest)[1]
    for number in (0, 9, 20):
        one = HeadParameters(*(part[number : number + 1] for part in head))
        with torch.no_grad():
            posed = student.decoder(one).vertices[0].numpy()
        wanted = posed + camera.translation[number].numpy() - mean
        distance = np.linalg.norm(glb.vertices(number) - wanted[source], axis=1)
        assert np.median(distance) < 1e-5
        assert np.quantile(distance, 0.99) < 1e-3  # lids on the eyeballs are no linear model


def test_the_csv_holds_the_same_weights_times_and_angles(results, clip):
    motion = read_live_link(results / "clip.csv")
    np.testing.assert_allclose(motion.times_s, clip.times_s, atol=2e-4)
    columns = [ARKIT_NAMES.index(name) for name in clip.expression_names]
    expression = clip.parameters.head.expression.numpy()
    np.testing.assert_allclose(motion.weights[:, columns], expression, atol=2e-6)
    turns = rotation_vectors(motion.angles)
    np.testing.assert_allclose(turns[0], clip.parameters.head.global_pose.numpy(), atol=1e-5)
    np.testing.assert_allclose(turns[1], clip.parameters.head.left_eye_pose.numpy(), atol=1e-5)


def test_the_overlay_shows_every_frame_beside_itself(results, pictures):
    reader = VideoReader(results / "clip.webm")
    frames = [frame.image for frame in reader]
    assert len(frames) == len(pictures)
    for drawn, plain in zip(frames, pictures, strict=True):
        left, middle = drawn[:120, :160].astype(int), drawn[:120, 160:320].astype(int)
        assert np.abs(left - plain).mean() < 12
        assert np.abs(middle - left)[30:90, 60:100].mean() > 15  # clay over the face


def test_truth_lies_beside_the_clip_in_both_formats(filmed, truth):
    motion = read_live_link(filmed.with_suffix(".truth.csv"))
    columns = [ARKIT_NAMES.index(name) for name in truth.expression_names]
    expression = truth.parameters.head.expression.numpy()
    np.testing.assert_allclose(motion.weights[:, columns], expression, atol=2e-6)
    assert expression.std(0).max() > 0.1
    turned = Rotation.from_rotvec(rotation_vectors(motion.angles)[0]).magnitude()
    assert np.degrees(turned.max()) > 1
    assert json.loads(filmed.with_suffix(".truth.json").read_text())["quality"]["reasons"] == []
