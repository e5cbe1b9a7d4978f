"""A pack's expression network in videos: it starts every frame's fit, as it does for photos."""

import cv2
import numpy as np
import pytest
import torch
from helpers.expression_tiny import write_expression_pack
from helpers.identity_tiny import identity_head

from mica_ext.clip.clip_reconstructor import ClipReconstructor
from mica_ext.clip.frame_fits import fit_frames
from mica_ext.reconstruct import Reconstructor
from mica_ext.video_files.reader import VideoFrame, VideoInfo
from pacofr.faces.detect import detect


@pytest.fixture(scope="module")
def with_network(tmp_path_factory):
    """A random expression network on a small head."""
    folder = tmp_path_factory.mktemp("pack") / "pack"
    return Reconstructor.load(write_expression_pack(folder, identity_head()), points="student")


def clip_of(reconstructor, images):
    size = images[0].shape[1::-1]
    info = VideoInfo("made.mp4", size, size, 12.0, len(images), len(images) / 12, 0)
    clip = ClipReconstructor(reconstructor, info)
    for number, image in enumerate(images):
        clip.add(VideoFrame(image, number / 12))
    return clip


def test_the_network_is_read_on_every_frame_with_the_face(with_network, pictures):
    clip = clip_of(with_network, [pictures[0], np.zeros_like(pictures[0]), pictures[0]])
    tracked = clip.tracker.result()
    assert list(tracked.confidence > 0) == [True, False, True]
    image = pictures[0]
    aligned = with_network.align(image, detect(image)[:1])
    wanted = with_network.estimator.predictor.movement(aligned)
    torch.testing.assert_close(tracked.expected.jaw_pose[:1], wanted.jaw_pose, atol=0.02, rtol=0)
    assert float(tracked.expected.expression[0].abs().max()) > 0.05
    assert not tracked.expected.expression[1].any()
    found = clip.result().clip
    assert found.provenance.expression == with_network.provenance.expression


def test_what_is_hidden_comes_nearer_to_what_the_network_says(with_network, pictures):
    """The mouth painted over: of what only it shows the network has a say."""
    covered = pictures[0].copy()
    points = detect(covered)[0].points
    middle, eyes = points[2:].mean(0), np.linalg.norm(points[1] - points[0])
    cv2.circle(covered, tuple(map(int, middle)), int(eyes), (70, 110, 60), -1)
    tracked = clip_of(with_network, [covered]).tracker.result()
    assert tracked.visibility[0].min() < 0.5
    seen = tracked.expected._replace(expression=torch.full_like(tracked.expected.expression, 0.5))
    told, alone = (
        fit_frames(with_network, one, [0], covered.shape[1::-1]).parameters.head.expression
        for one in (tracked._replace(expected=seen), tracked._replace(expected=None))
    )
    gaps = [(each - 0.5).abs() for each in (told, alone)]
    assert float(gaps[1].min()) > 0.3
    assert float(gaps[0].min()) < 0.7 * float(gaps[1].min())
