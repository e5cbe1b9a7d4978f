"""Choice among detected faces, and what is said where there is none."""

import numpy as np
import pytest

from pacofr.errors import UserError
from pacofr.faces.choose import MIN_FACE_PX, choose_face, is_dark
from pacofr.faces.detect import Face


def made_up(x: float, size: float) -> Face:
    box = np.array([x, 100, x + size, 100 + size], np.float32)
    return Face(box, 0.99, np.zeros((5, 2), np.float32))


BRIGHT = np.full((260, 280, 3), 200, np.uint8)


def test_choice_of_faces():
    faces = [made_up(0, 90), made_up(110, 60), made_up(300, 40)]
    assert choose_face(faces, BRIGHT) == faces[:1]
    assert choose_face(faces, BRIGHT, "center") == faces[1:2]
    assert choose_face(faces, BRIGHT, "all") == faces
    assert choose_face(faces, BRIGHT, 2) == faces[2:]
    with pytest.raises(UserError, match="3 found: give 0 to 2"):
        choose_face(faces, BRIGHT, 3)


def test_specks_are_no_faces_unless_asked_for():
    faces = [made_up(0, 50), made_up(110, MIN_FACE_PX - 1), made_up(150, 15)]
    assert choose_face(faces, BRIGHT, "all") == faces[:1]
    assert choose_face(faces, BRIGHT, "all", min_face=10.0) == faces
    with pytest.raises(UserError, match="1 found"):
        choose_face(faces, BRIGHT, 1)
    with pytest.raises(UserError, match="at least 32 pixels, the largest of 1 has 15"):
        choose_face(faces[2:], BRIGHT, "largest")


def test_no_face_is_said_with_the_smallest_size_looked_for():
    with pytest.raises(UserError, match="no face found: .* at least 32 pixels wide"):
        choose_face([], BRIGHT)
    large = np.full((4000, 6144, 3), 200, np.uint8)
    with pytest.raises(UserError, match="at least 120 pixels wide"):
        choose_face([], large)
    with pytest.raises(UserError, match="no face found, and the photo is dark"):
        choose_face([], BRIGHT // 5)


def test_dark_photos_are_those_whose_lights_are_dark():
    ramp = np.linspace(0, 255, 300, dtype=np.uint8)[None, :, None].repeat(200, 0).repeat(3, 2)
    assert not is_dark(ramp)
    assert not is_dark(ramp // 3)
    assert is_dark(ramp // 5)
    night = np.full((200, 300, 3), 10, np.uint8)
    night[:10, :10] = 255  # a lamp makes no bright photo
    assert is_dark(night)
