"""The paper's rows as its own arithmetic has them, and ours beside them only where comparable."""

import json

import numpy as np
import pytest

from pacofr.cli import main
from pacofr.errors import UserError
from pacofr.tasks.report.columns import SHAPES
from pacofr.tasks.report.published import PUBLISHED, TABLE_6
from pacofr.tasks.report.results import (
    FORMAT,
    VERSION,
    Result,
    Score,
    read_scores,
    write_result,
)


def paper(data, method, tuning):
    return next(r for r in PUBLISHED[data] if (r.method, r.tuning) == (method, tuning)).values


@pytest.mark.parametrize("data", PUBLISHED)
def test_rows_have_the_tables_columns(data):
    assert {len(row.values) for row in PUBLISHED[data]} == {len(SHAPES[data].columns)}
    assert len(PUBLISHED[data]) == 7


@pytest.mark.parametrize(
    ("data", "tuning", "mean"),
    [
        ("lapa", "frozen", 92.518),
        ("lapa", "tuned", 92.853),
        ("celebamask-hq", "frozen", 87.329),
        ("celebamask-hq", "tuned", 87.772),
    ],
)
def test_means_are_those_of_the_classes(data, tuning, mean):
    *classes, printed = paper(data, "PaCo-FR 2M", tuning)
    assert np.mean(classes) == pytest.approx(mean, abs=1e-3)
    assert printed == pytest.approx(mean, abs=0.006)


def test_the_full_set_of_300w_is_its_two_parts_but_for_one_row():
    other = []
    for row in PUBLISHED["300w"]:
        common, challenge, full = row.values
        if abs(full - (554 * common + 135 * challenge) / 689) > 0.012:
            other.append((row.method, row.tuning))
    assert other == [("MCF 2M", "tuned")]  # 3.06 is printed, its parts give 3.01


def test_table_6_repeats_tables_1_to_5_but_for_one_number():
    for row in TABLE_6[:2]:
        repeated = [
            paper(data, "PaCo-FR 2M", row.tuning)[position]
            for data, position in zip(PUBLISHED, (-1, -1, -1, 0, 0), strict=True)
        ]
        other = [a for a, b in zip(row.values, repeated, strict=True) if a != b]
        assert other == ([] if row.tuning == "frozen" else [87.33])


def result(**changes):
    measures = {"inter_ocular": 3.25}
    scores = tuple(
        Score(subset, which, 10, measures)
        for subset in ("full", "common", "challenge")
        for which in ("last epoch", "best epoch")
    )
    fields = {
        "task": "alignment",
        "data": "300w",
        "encoder": "runs/mine",
        "tuning": "tuned",
        "resolution": 224,
        "labels": 3148,
        "steps": 10,
        "seed": 0,
        "deviations": (),
        "test_samples": {"full": 689},
        "scores": scores,
    }
    return Result(FORMAT, VERSION, **{**fields, **changes})


def printed(tmp_path, capsys, *results):
    files = [tmp_path / f"{number}.json" for number in range(len(results))]
    for file, one in zip(files, results, strict=True):
        write_result(file, one)
    assert main(["task", "table", *map(str, files)]) == 0
    return capsys.readouterr().out


def test_the_papers_rows_stand_beside_the_same_protocol_alone(tmp_path, capsys):
    same = printed(tmp_path, capsys, result())
    assert "Table 3" in same
    assert same.count("PaCo-FR 2M") == 1
    assert "FaRL 20M" in same
    assert "2.62" in same
    assert "best epoch" in same
    assert "last epoch" in same
    other = printed(tmp_path, capsys, result(deviations=("labels 50 (protocol: None)",)))
    assert "PaCo-FR" not in other
    assert "labels 50 (protocol: None)" in other
    larger = printed(tmp_path, capsys, result(resolution=448))
    assert "PaCo-FR" not in larger


def test_results_of_several_data_sets_make_table_6(tmp_path, capsys):
    scores = (Score("full", "last epoch", 5, {"inter_ocular": None}),)
    said = printed(tmp_path, capsys, result(), result(data="wflw", scores=scores))
    table = said[said.index("Table 6") :]
    assert "PaCo-FR 20M" in table
    assert "3.25" in table


def test_a_file_that_is_no_result_is_one_line(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{}")
    assert main(["task", "table", str(tmp_path / "x.json")]) == 2
    assert "expected a result of `pacofr task`, got another JSON file" in capsys.readouterr().err
    write_result(tmp_path / "y.json", result())
    text = (tmp_path / "y.json").read_text().replace('"seed": 0', '"seed": true')
    (tmp_path / "y.json").write_text(text)
    assert main(["task", "table", str(tmp_path / "y.json")]) == 2
    assert "seed must be a whole number" in capsys.readouterr().err


def test_scores_are_those_of_the_last_and_the_best_evaluation(tmp_path):
    rows = [
        {"step": 1, "full/nme": 4.0, "common/nme": float("nan")},
        {"step": 2, "loss": 0.5},
        {"step": 3, "full/nme": 3.0},
        {"step": 4, "full/nme": 5.0, "common/nme": 2.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = read_scores(tmp_path, "nme", smaller_is_better=True)
    found = [(s.subset, s.which, s.step, s.measures["nme"]) for s in scores]
    assert found == [
        ("full", "last epoch", 4, 5.0),
        ("full", "best epoch", 3, 3.0),
        ("common", "last epoch", 4, 2.0),
        ("common", "best epoch", 4, 2.0),
    ]


@pytest.mark.parametrize(
    "row", [{}, {"step": None}, {"step": "x"}, {"step": float("inf")}, {"step": 1, "part/f1": 2.0}]
)
def test_a_record_that_no_task_writes_is_one_line(tmp_path, row):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"full/nme": 4.0} | row) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl: expected a step and its scores"):
        read_scores(tmp_path, "nme", smaller_is_better=True)
