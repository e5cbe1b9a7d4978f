"""Learning curves hold what metrics.jsonl says, and refuse what is none."""

import json

import numpy as np
import pytest

from pacofr.analysis.learning_curves import POINTS, draw_curves, read_curves
from pacofr.errors import UserError


def write(folder, rows):
    folder.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines + '{"step": 9')  # cut off by a kill
    return folder


def test_a_line_is_the_mean_of_steps_in_a_row(tmp_path):
    rows = [
        {
            "images": 8 * (i + 1),
            "mse": float(i),
            "perceptual": 0.0,
            "cross_entropy": 0.5 * (i < 100),
        }
        for i in range(4 * POINTS)
    ]
    found = read_curves(write(tmp_path / "run", rows))
    assert found is not None
    assert len(found.images) == POINTS
    assert found.images[0] == np.mean([8, 16, 24, 32])
    assert found.values["mse"][1] == np.mean([4, 5, 6, 7])
    assert np.isnan(found.values["perceptual"]).all()  # off
    assert (found.values["cross_entropy"][:25] == 0.5).all()
    assert np.isnan(found.values["cross_entropy"][25:]).all()
    assert np.isnan(found.values["usage_entropy"]).all()  # a codebook of one candidate


def test_runs_without_a_record_have_no_curves(tmp_path):
    assert read_curves(tmp_path) is None
    assert read_curves(write(tmp_path / "run", [])) is None


@pytest.mark.parametrize(
    "content", ["[1]\n{}\n{nonsense}\n", "{}\n", '{"images": "many"}\n', "\x00}\n"]
)
def test_a_foreign_record_is_refused(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.jsonl: expected the record of a run"):
        read_curves(tmp_path)


def test_only_fields_that_some_run_has_are_drawn(tmp_path):
    rows = [{"images": i, "mse": 1 / i} for i in range(1, 9)]
    one = read_curves(write(tmp_path / "a", rows))
    two = read_curves(write(tmp_path / "b", [{**row, "cross_entropy": 0.7} for row in rows]))
    assert one is not None
    assert two is not None
    single, double = draw_curves({"a": one}), draw_curves({"a": one, "b": two})
    height, width, _ = single.shape
    assert double.shape == (height, 2 * width, 3)
    assert (double[:, width:] < 255).any()
