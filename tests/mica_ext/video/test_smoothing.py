"""The filter over time against closed forms: exact on parabolas, no lag, fast events kept."""

import numpy as np
import pytest

from mica_ext.clip.smoothing import adaptive_wiener, moving_mean, parabolas

RNG = np.random.default_rng(0)
UNEVEN = np.cumsum(RNG.uniform(0.02, 0.05, 80))
EVEN = np.arange(90) / 30


def smooth(times, values, floor=0.04):
    groups = [np.array([k]) for k in range(values.shape[1])]
    return adaptive_wiener(
        times, values, np.ones(len(times)), groups, np.full(values.shape[1], floor)
    )


def test_parabolas_pass_at_uneven_times_and_weights():
    values = np.stack([3 - 2 * UNEVEN + 0.7 * UNEVEN**2, 5 * UNEVEN], 1)
    weights = RNG.uniform(0.1, 1, len(UNEVEN))
    np.testing.assert_allclose(parabolas(UNEVEN, values, weights), values, atol=1e-4)
    np.testing.assert_allclose(smooth(UNEVEN, values), values, atol=1e-4)


def test_time_reversed_is_the_same_which_a_lag_would_not_be():
    values = np.cumsum(RNG.normal(0, 0.1, (90, 2)), 0)
    back = smooth(EVEN[-1] - EVEN[::-1], values[::-1])[::-1]
    np.testing.assert_allclose(back, smooth(EVEN, values), atol=1e-9)


def test_noise_of_a_still_face_goes_down():
    noise = RNG.normal(0, 0.02, (90, 3))
    left = smooth(EVEN, noise)[5:-5]
    assert left.std() < 0.62 * noise.std()  # white noise through a parabola of 9 frames: 0.55


def test_a_blink_and_a_jump_are_kept():
    values = RNG.normal(0, 0.01, (90, 2))
    values[30:34, 0] += [0.5, 1.0, 0.9, 0.4]
    values[50:, 1] += 0.6  # a saccade
    result = smooth(EVEN, values)
    assert result[30:34, 0].max() > 0.95
    assert result[51, 1] - result[48, 1] > 0.55
    assert np.abs(result[60:, 0]).mean() < 0.8 * np.abs(values[60:, 0]).mean()


def test_frames_of_no_weight_do_not_count():
    values = np.zeros((90, 1))
    values[40] = 5.0
    weights = np.ones(90)
    weights[40] = 1e-9
    assert np.abs(parabolas(EVEN, values, weights)).max() < 1e-3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_runs_stay_finite(count):
    values = RNG.normal(0, 1, (count, 4))
    result = smooth(EVEN[:count], values)
    assert np.isfinite(result).all()
    assert np.abs(result - values).max() < 1.5


def test_moving_means_still_what_flickers_and_keep_lines():
    flicker = np.arange(90.0)[:, None] % 2
    still = moving_mean(EVEN, flicker, 0.1)[5:-5]
    assert np.ptp(still) < 0.25
    assert abs(still.mean() - 0.5) < 0.01
    np.testing.assert_allclose(moving_mean(EVEN, EVEN[:, None], 0.1)[5:-5, 0], EVEN[5:-5])
