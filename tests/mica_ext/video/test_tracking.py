"""Frames without the face, cuts, two people, small pictures: what a clip says of them."""

import cv2
import numpy as np
import pytest
import torch

from mica_ext.clip.clip_reconstructor import ClipReconstructor
from mica_ext.errors import UserError
from mica_ext.video_files.reader import VideoFrame, VideoInfo

RATE = 12.0


def reconstruct_frames(student, images, choice="largest"):
    height, width = images[0].shape[:2]
    size = (width, height)
    info = VideoInfo("made.mp4", size, size, RATE, len(images), len(images) / RATE, 0)
    clip = ClipReconstructor(student, info, choice)
    for number, image in enumerate(images):
        clip.add(VideoFrame(image, number / RATE))
    return clip.result()


def wall(pictures, seed=0):
    level = np.random.default_rng(seed).integers(60, 200, 3)
    return np.broadcast_to(level.astype(np.uint8), pictures[0].shape)


def test_a_gap_is_held_and_the_face_found_again(student, pictures):
    images = [*pictures[:5], *[wall(pictures)] * 5, *pictures[5:12]]
    clip = reconstruct_frames(student, images).clip
    assert [state == "held" for state in clip.states] == [False] * 5 + [True] * 5 + [False] * 7
    assert [first for first, _ in clip.shots] == [0, 5, 10]  # two cuts
    head = clip.parameters.head
    for number in range(5, 10):  # the last values before
        assert torch.equal(head.expression[number], head.expression[5])
    assert "5 of 17 frames show no face" in clip.quality.reasons[0]


def test_a_cut_restarts_the_filter_not_the_identity(student, pictures):
    mirrored = [np.ascontiguousarray(255 - picture[:, ::-1] // 2) for picture in pictures[:2]]
    whole = reconstruct_frames(student, pictures[:6]).clip
    clip = reconstruct_frames(student, [*pictures[:6], *mirrored]).clip
    assert clip.shots == ((0, 6), (6, 8))
    shape = clip.parameters.head.shape
    assert torch.equal(shape, shape[:1].expand(8, -1))
    # values before the cut are smoothed without those behind it
    turned = clip.parameters.head.global_pose[:6] - whole.parameters.head.global_pose
    assert float(turned.norm(dim=1).max()) < 0.05


def test_of_two_people_the_larger_is_followed_or_the_one_that_is_asked_for(student, pictures):
    small = [cv2.resize(picture, (112, 84)) for picture in pictures[:4]]
    images = []
    for picture, other in zip(pictures[:4], small, strict=True):
        canvas = np.full((120, 280, 3), 120, np.uint8)
        canvas[:, :160], canvas[30:114, 164:276] = picture, other
        images.append(canvas)
    largest = reconstruct_frames(student, images)
    assert largest.faces_found == 2
    second = reconstruct_frames(student, images, 1)
    across = [clip.clip.parameters.camera.translation[:, 0] for clip in (largest, second)]
    assert (across[0] < 0).all()
    assert (across[1] > 0).all()


def test_a_video_without_a_face_is_one_line(student, pictures):
    with pytest.raises(UserError, match="expected a video with a face, found none in its 4 frames"):
        reconstruct_frames(student, [wall(pictures)] * 4)
