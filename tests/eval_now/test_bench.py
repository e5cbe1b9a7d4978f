"""The figures of eval-now's speed come from functions that are right on a tiny set."""

import numpy as np
import pytest
from bench.now_speed import Official, compare, measure, one_image_each, tasks_of, times_as_fast
from helpers.eval_toy import NAMES, write_now, write_predictions

UNITS = {name: unit for name, unit in zip(NAMES[:3], ("mm", "mm", None), strict=True)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    write_now(folder / "dataset", NAMES[:3])
    write_predictions(folder / "predictions", names=NAMES[:3])
    return folder


@pytest.fixture(scope="module")
def tasks(cases):
    images = {name: {"unit": unit} for name, unit in UNITS.items()}
    return tasks_of(cases, "non-metrical", {"images": images})


def test_every_image_is_scored_once_whole_subjects_or_one_by_one(tasks):
    assert [len(task.images) for task in tasks] == [2, 1]
    assert [len(task.images) for task in one_image_each(tasks)] == [1, 1, 1]
    together, alone = (measure(each, 1, 100).scored for each in (tasks, one_image_each(tasks)))
    assert [image.score for image in together] == [image.score for image in alone]
    assert sorted(image.score.image for image in together) == sorted(UNITS)


def test_speed_is_in_yardsticks(tasks):
    speed = measure(tasks, 2, 2000)
    assert (len(speed.seconds), len(speed.yardsticks)) == (2, 3)
    assert min(*speed.seconds, *speed.yardsticks) > 0
    # 6 s at 2 s a yardstick are 3 yardsticks; 0.5 s at 0.5 s a yardstick are 1
    assert times_as_fast(Official(6.0, 2.0), 0.5, 0.5) == pytest.approx(3.0)
    assert times_as_fast(Official(6.0, 2.0), 0.5, 1.0) == pytest.approx(6.0)


def test_differences_are_the_largest_of_any_image(tasks):
    scored = measure(tasks, 1, 100).scored
    pooled = np.concatenate([image.distances for image in scored]).astype(np.float64)
    images = {
        image.score.image: {"mean": image.score.mean, "median": image.score.median}
        for image in scored
    }
    reference = {
        "images": images,
        "pooled": {"mean": pooled.mean(), "median": np.median(pooled)},
    }
    assert max(compare(scored, reference)) < 1e-9
    images[NAMES[1]]["mean"] += 0.25
    images[NAMES[2]]["median"] -= 0.5
    reference["pooled"]["median"] += 1.0
    assert compare(scored, reference) == pytest.approx((0.25, 0.5, 0.0, 1.0), abs=1e-9)
