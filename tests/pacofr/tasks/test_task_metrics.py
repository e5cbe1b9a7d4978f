"""Scores of the 2D tasks against the official scorers, and closed forms."""

import math
from pathlib import Path

import numpy as np
import parity_compare
import parity_weights
import pytest

from pacofr.tasks.alignment.metrics import (
    box_diagonal,
    box_side,
    error_curve,
    eye_distance,
    normalised_mean_errors,
    simpson,
)
from pacofr.tasks.alignment.schemes import SCHEMES
from pacofr.tasks.parsing.metrics import Confusion

EXPECTED = parity_compare.load(Path(parity_compare.__file__).parent, "scorers")[0]["expected"]


def alignment_samples(kind):
    samples = parity_weights.alignment_samples(kind, 1)
    truth, predicted, box = (
        np.stack([sample[name] for sample in samples])
        for name in ("landmarks", "pred_landmarks", "box")
    )
    return truth, predicted, box[:, [1, 0, 3, 2]]


@pytest.mark.parametrize(("kind", "count"), [("300w", 68), ("aflw19", 19), ("wflw", 98)])
def test_errors_by_the_eyes_are_the_official_ones(kind, count):
    truth, predicted, _ = alignment_samples(kind)
    expected, scheme = EXPECTED[f"alignment/{kind}"], SCHEMES[count]
    for name, eyes in (("inter_ocular", scheme.eye_corners), ("inter_pupil", scheme.pupils)):
        errors = normalised_mean_errors(predicted, truth, eye_distance(truth, eyes))
        assert errors.mean() == pytest.approx(expected[name], abs=1e-6)


def test_errors_by_the_box_and_their_curve_are_the_official_ones():
    truth, predicted, boxes = alignment_samples("aflw19")
    expected = EXPECTED["alignment/aflw19"]
    by_side = normalised_mean_errors(predicted, truth, box_side(boxes))
    by_diagonal = normalised_mean_errors(predicted, truth, box_diagonal(boxes))
    assert by_side.mean() == pytest.approx(expected["box"], abs=1e-6)
    assert by_diagonal.mean() == pytest.approx(expected["diag"], abs=1e-6)
    curve = error_curve(by_side, 0.07)
    assert curve.auc == pytest.approx(expected["auc_box_7"], abs=1e-4)
    assert curve.failure_rate == pytest.approx(expected["fr_box_7"], abs=1e-9)


def test_the_curve_at_ten_percent_is_the_official_one():
    truth, predicted, _ = alignment_samples("wflw")
    expected = EXPECTED["alignment/wflw"]
    units = eye_distance(truth, SCHEMES[98].eye_corners)
    curve = error_curve(normalised_mean_errors(predicted, truth, units), 0.1)
    assert curve.auc == pytest.approx(expected["auc_inter_ocular_10"], abs=1e-4)
    assert curve.failure_rate == pytest.approx(expected["fr_inter_ocular_10"], abs=1e-9)


@pytest.mark.parametrize("count", [3, 4, 11, 702])
def test_simpsons_rule_is_exact_for_parabolas(count):
    x = np.linspace(0.0, 2.0, count)
    assert simpson(3 * x**2 - x + 1, x[1]) == pytest.approx(8 - 2 + 2)


@pytest.mark.parametrize(
    ("name", "classes", "absent"),
    [("lapa", 11, None), ("celebm", 19, None), ("lapa_class4_absent", 11, 4)],
)
def test_f1_is_the_official_one(name, classes, absent):
    confusion = Confusion(classes)
    for sample in parity_weights.parsing_samples(classes, 1, absent=absent):
        confusion.add(sample["label"], sample["pred_label"])
    *expected, mean = (
        math.nan if value is None else value for value in EXPECTED[f"parsing/{name}"].values()
    )
    np.testing.assert_allclose(confusion.f1(), expected, atol=1e-9)
    assert confusion.mean_f1() == pytest.approx(mean, abs=1e-9, nan_ok=True)
