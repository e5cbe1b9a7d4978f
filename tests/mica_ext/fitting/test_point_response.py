"""How far points follow faces: damped points give the full expression back."""

import numpy as np
import pytest
import torch
from helpers.anchored_points import CALIBRATION, points_of
from jaxtyping import Float
from torch import Tensor

from flame_assets.arkit import arkit
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.lip_seam import LOWER_POINTS, lip_gaps
from mica_ext.fitting.points.noise import FIT_POINTS
from mica_ext.fitting.points.response import FEATURES, LIPS, PointResponse
from mica_ext.landmarks.calibration.response import (
    ACROSS,
    ALONG,
    SLOPE,
    AnnotatedFaces,
    calibrate_response,
    closed_lips,
    eye_openness,
    implied_openness,
    slope,
    with_openness,
)
from mica_ext.models.projection import project
from mica_ext.models.types import Camera
from pacofr.faces.face_mesh.topology import (
    IBUG68,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    MIRROR,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
)
from pacofr.faces.landmarks68 import mouth_opening, mouth_width

SIZE = (481, 641)
CAMERA = Camera(
    torch.tensor([1500.0]), torch.tensor([[320.0, 240.0]]), torch.tensor([[0.0, 0.02, -1.0]])
)
DAMPED = 0.6


@pytest.fixture(scope="module")
def anthro():
    return HeadDecoder(load_head("anthro"))


def posed(decoder: HeadDecoder, faces: list[dict[str, float]]) -> HeadParameters:
    """Mean people with ARKit weights."""
    zero = np.zeros(3, np.float32)
    shape = np.zeros(decoder.head.shape_count, np.float32)
    poses = [arkit(weights, decoder.head.expression_names) for weights in faces]
    rows = [(shape, pose.expression, zero, zero, *pose[1:]) for pose in poses]
    columns = zip(*rows, strict=True)
    return HeadParameters(*(torch.from_numpy(np.stack(column)) for column in columns))


def seen(decoder: HeadDecoder, parameters: HeadParameters) -> Float[Tensor, "B 478 2"]:
    """Points of faces in the picture [px]."""
    return project(camera_of(len(parameters.shape)), points_of(decoder, parameters))


def camera_of(batch: int) -> Camera:
    return Camera(*(values.expand(batch, *values.shape[1:]) for values in CAMERA))


def test_points_that_follow_in_part_give_the_whole_expression(anthro):
    faces = [{"jawOpen": 0.5}, {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}]
    moved = seen(anthro, posed(anthro, faces)) - seen(anthro, posed(anthro, [{}]))
    mouth = moved[:, LIPS].mean(1, keepdim=True)
    damped = seen(anthro, posed(anthro, faces))
    damped[:, LIPS] += (DAMPED - 1) * (moved[:, LIPS] - mouth)
    response = CALIBRATION.response.copy()
    response[LIPS] = DAMPED

    def weights(calibration):
        fit = LandmarkFitter(anthro, calibration)(damped, SIZE)
        return fit.parameters.head.expression.numpy()

    names = anthro.head.expression_names
    whole, part = weights(CALIBRATION._replace(response=response)), weights(CALIBRATION)
    for row, face in enumerate(faces):
        for name, value in face.items():
            column = names.index(name)
            assert 0.8 * value < whole[row, column] < 1.15 * value
            assert part[row, column] < 0.8 * value


def read_modes(modes: Float[np.ndarray, "Q L 3"], share: float) -> Float[np.ndarray, "Q L 3"]:
    """Modes, the mean first, of points of a head without a jaw, as they are read."""
    skull = torch.from_numpy(modes).permute(1, 2, 0)
    basis = torch.cat([skull, torch.zeros_like(skull)], 1)
    response = PointResponse.of_fitted_points(np.full((478, 2), share))
    return response.applied(basis, slice(0, len(modes)))[:, :3].permute(2, 0, 1).numpy()


def test_places_and_sizes_of_heads_are_followed_fully_and_brows_in_part():
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 0.05, (len(FIT_POINTS), 3))
    brows = np.isin(FIT_POINTS, RIGHT_BROW)
    aside, larger = np.full_like(mean, 0.01), 0.1 * (mean - mean.mean(0))
    raised = np.where(brows[:, None], [0, 0.01, 0], 0.0)
    modes = np.stack([mean, aside, larger, raised - size_of(raised, mean)])
    read = read_modes(modes, 0.6)
    np.testing.assert_allclose(read[:3], modes[:3], atol=1e-12)
    eye = np.isin(FIT_POINTS, RIGHT_EYE)
    brow_to_eye = [m[brows].mean(0) - m[eye].mean(0) for m in (read[3], modes[3])]
    np.testing.assert_allclose(brow_to_eye[0], 0.6 * brow_to_eye[1], atol=1e-12)
    others = ~np.isin(FIT_POINTS, np.concatenate([points for points, _ in FEATURES]))
    np.testing.assert_allclose(read[3][others], modes[3][others], atol=1e-12)


def size_of(
    mode: Float[np.ndarray, "L 3"], mean: Float[np.ndarray, "L 3"]
) -> Float[np.ndarray, "L 3"]:
    """The mode's part that makes the whole head larger."""
    about = mean - mean.mean(0)
    return (mode * about).sum() / (about * about).sum() * about


@pytest.fixture(scope="module")
def damped_faces(anthro):
    """Mouths that open and smile; the points of lips follow in part, more so sideways."""
    rng = np.random.default_rng(3)
    weights = [
        {"jawOpen": opened, "mouthSmileLeft": smile, "mouthSmileRight": smile, "eyeBlinkLeft": lid}
        for opened, smile, lid in rng.uniform(0, [0.5, 0.8, 0.3], (40, 3))
    ]
    parameters = posed(anthro, weights)
    points, neutral = seen(anthro, parameters), seen(anthro, posed(anthro, [{}]))
    factor = torch.ones(478, 2)
    factor[LIPS] = torch.tensor([0.8, DAMPED])
    with torch.no_grad():
        landmarks = project(camera_of(len(weights)), anthro(parameters).landmarks)
    return AnnotatedFaces(
        neutral + factor * (points - neutral),
        torch.ones(len(weights), 478),
        torch.tensor([SIZE]).expand(len(weights), 2),
        landmarks.double().numpy(),
    )


def test_calibrated_fits_follow_the_annotation(anthro, damped_faces):
    calibration = calibrate_response(anthro, CALIBRATION.mean, damped_faces)
    response = calibration.response[LIPS[0]]
    assert response[ALONG] < response[ACROSS]
    points, confidence, sizes, truth = damped_faces

    def slopes(used):
        fit = LandmarkFitter(anthro, used)(points, sizes, confidence=confidence)
        fitted = fit.landmarks_px.double().numpy()
        return [slope(m(fitted), m(truth)) for m in (mouth_opening, mouth_width)]

    np.testing.assert_allclose(slopes(calibration), SLOPE, atol=0.06)
    assert max(slopes(CALIBRATION)) < 0.87


def test_openness_is_read_off_the_line_of_the_annotated_eyes(anthro, damped_faces):
    """The mean head's own points: what is implied is what its neutral face shows."""
    neutral = seen(anthro, posed(anthro, [{}])).double().numpy()
    own = float(eye_openness(neutral[:, IBUG68])[0])
    assert abs(implied_openness(anthro, damped_faces) - own) < 0.01


def test_lids_of_the_mean_person_move_alone_and_alike():
    moved = with_openness(CALIBRATION.mean, 0.25)
    assert abs(float(eye_openness(moved[None, IBUG68])[0]) - 0.25) < 0.005
    others = np.setdiff1d(np.arange(478), np.concatenate([RIGHT_EYE, LEFT_EYE]))
    still = [*others, RIGHT_EYE_OUTER, LEFT_EYE_OUTER]
    np.testing.assert_array_equal(moved[still], CALIBRATION.mean[still])
    np.testing.assert_allclose(moved[MIRROR] * [-1, 1], moved, atol=3e-4)


def test_closed_mouths_are_told_by_the_gap_that_tells_most():
    """Closed mouths are read as 0.01 to 0.03 apart, open ones as 0.035 and more."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(np.tile(CALIBRATION.mean, (60, 1, 1)) * 100).clone()
    landmarks = np.tile(CALIBRATION.mean[IBUG68], (60, 1, 1)) * 100
    own = float(lip_gaps(CALIBRATION.mean[None], np.ones(1))[0])
    read = np.r_[rng.uniform(0.01, 0.03, 40), rng.uniform(0.035, 0.2, 20)]
    points[:, LOWER_POINTS, 1] += torch.from_numpy(100 * (read - own))[:, None]
    closed = np.arange(60) < 40
    landmarks[:, 66, 1] = landmarks[:, 62, 1] + np.where(closed, 0.0, 6.0)
    faces = AnnotatedFaces(
        points, torch.ones(60, 478), torch.full((60, 2), 480), landmarks.astype(np.float64)
    )
    assert 0.03 <= closed_lips(faces) <= 0.035
