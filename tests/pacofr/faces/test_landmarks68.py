"""68 landmarks: order and mirror table on real faces, `.pts` files, measures in closed form."""

import os

import numpy as np
import pytest

from pacofr.errors import UserError
from pacofr.faces import landmarks68 as marks


@pytest.fixture(scope="module")
def helen(shared_data) -> np.ndarray:
    """Landmarks of real faces [330, 68, 2]."""
    files = sorted((shared_data / "helen" / "testset").glob("*.pts"))
    assert len(files) == 330
    return np.stack([marks.read_pts(file) for file in files])


def test_mirroring_swaps_every_pair_and_keeps_the_midline():
    assert (marks.MIRROR[marks.MIRROR] == np.arange(68)).all()
    midline = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert np.flatnonzero(np.arange(68) == marks.MIRROR).tolist() == midline


def test_the_mean_of_real_faces_is_nearly_its_own_mirror_image(helen):
    five = np.stack([marks.five_points(points) for points in helen])
    eyes, across = five[:, :2].mean(1), five[:, 1] - five[:, 0]
    # complex numbers: subtracting the eyes' middle, dividing by the eyes' vector
    place, unit = (helen - eyes[:, None]) @ [1, 1j], across @ [1, 1j]
    mean = np.mean(place / unit[:, None], axis=0)
    shape = np.stack([mean.real, mean.imag], axis=-1)
    apart = np.linalg.norm(marks.mirrored(shape, 1) - shape, axis=-1)
    assert apart.max() < 0.05  # the smallest distance of two different landmarks is 0.11
    for group in (marks.RIGHT_EYE, marks.RIGHT_EYEBROW):
        assert shape[group, 0].max() < 0 < shape[marks.MIRROR[group], 0].min()
    heights = [marks.LEFT_EYEBROW, marks.LEFT_EYE, marks.NOSTRILS, marks.OUTER_LIPS]
    assert np.diff([shape[group, 1].mean() for group in heights]).min() > 0.2


def test_mirrored_points_lie_where_the_flipped_image_has_them():
    image = np.zeros((100, 120))
    points = np.random.default_rng(0).permutation(100 * 120)[:68]
    y, x = np.divmod(points, 120)
    image[y, x] = np.arange(1, 69)
    moved = marks.mirrored(np.stack([x, y], 1), 120).astype(int)
    assert (image[:, ::-1][moved[:, 1], moved[:, 0]] == marks.MIRROR + 1).all()


def test_five_points_of_a_real_face_lie_inside_it(helen):
    five = np.stack([marks.five_points(points) for points in helen])
    assert (five[:, 0, 0] < five[:, 1, 0]).mean() == 1
    assert (five[:, 3, 0] < five[:, 4, 0]).mean() == 1
    np.testing.assert_array_equal(five[:, 2], helen[:, 30])
    np.testing.assert_allclose(five[:, 0], helen[:, 36:42].mean(1))


def test_pts_files_keep_their_points(tmp_path):
    points = np.random.default_rng(1).uniform(-50, 900, (68, 2))
    marks.write_pts(tmp_path / "a.pts", points)
    np.testing.assert_allclose(marks.read_pts(tmp_path / "a.pts"), points, atol=5.1e-4)
    text = (tmp_path / "a.pts").read_text()
    (tmp_path / "b.pts").write_text(text.replace("\n", "\r\n").replace("version", " version"))
    np.testing.assert_array_equal(
        marks.read_pts(tmp_path / "b.pts"), marks.read_pts(tmp_path / "a.pts")
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"{ 1 2 }",
        b"{ 1 2\n x y }",
        b"{ " + b"1 nan " * 68 + b"}",
        b"{ " + b"1 1e999 " * 68 + b"}",
        b"{ " + b"1 2 " * 69 + b"}",
        b"{ \xff }",
        b"{" * 2**20,
        b"{ " + b"1 " * 2**20 + b"}",
    ],
)
def test_a_broken_pts_file_is_named_in_one_line(content, tmp_path):
    (tmp_path / "a.pts").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pts") as caught:
        marks.read_pts(tmp_path / "a.pts")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_pts_files_that_are_no_files(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        marks.read_pts(tmp_path / "none.pts")
    with pytest.raises(UserError, match="a folder"):
        marks.read_pts(tmp_path)
    os.mkfifo(tmp_path / "f.pts")
    with pytest.raises(UserError, match="a FIFO"):
        marks.read_pts(tmp_path / "f.pts")


def test_errors_are_in_percent_of_the_outer_eye_corners():
    truth = np.zeros((2, 68, 2))
    truth[0, 45], truth[1, 36] = (50, 0), (0, -25)
    assert marks.nme(truth + [3.0, 4.0], truth) == pytest.approx([10.0, 20.0])
    wrong_jaw = truth.copy()
    wrong_jaw[:, marks.JAW] += [3.0, 4.0]
    assert marks.nme(wrong_jaw, truth, marks.INNER) == pytest.approx([0.0, 0.0])
    assert marks.nme(wrong_jaw, truth, marks.JAW) == pytest.approx([10.0, 20.0])


def test_mouth_measures_are_in_inter_ocular_distances():
    points = np.zeros((1, 68, 2))
    points[0, 45], points[0, 66], points[0, 54] = [100, 0], [0, 7], [40, 30]
    assert marks.inter_ocular(points) == pytest.approx(100)
    assert marks.mouth_opening(points) == pytest.approx(0.07)
    assert marks.mouth_width(points) == pytest.approx(0.5)


def test_eye_aspect_ratio():
    points = np.zeros((1, 68, 2))
    points[0, 36:42] = [[0, 0], [10, -4], [20, -4], [30, 0], [20, 5], [10, 5]]
    points[0, 42:48] = [[0, 0], [10, 0], [20, 0], [30, 0], [20, 0], [10, 0]]
    assert marks.eye_aspect_ratio(points)[0] == pytest.approx([0.3, 0.0])


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi])
def test_brows_are_raised_across_the_eye_line(angle):
    points = np.zeros((1, 68, 2))
    points[0, 36:42], points[0, 42:48] = [-50, 0], [50, 0]
    points[0, 17:22], points[0, 22:27] = [-40, -20], [40, -30]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert marks.brow_raise(points @ turn.T + 7) == pytest.approx([0.25])
