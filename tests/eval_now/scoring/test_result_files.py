# ruff: noqa: PT017 - properties either read or refuse
"""JSON and distances of eval_now: whatever a file holds is read, or refused in one line."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_now.cli import main
from eval_now.data.image_issues import ImageWarning, MissingImage
from eval_now.errors import UserError
from eval_now.predictions.files import Manifest, load_manifest, save_manifest
from eval_now.scoring.result import ChallengeResult, ProtocolResult, RunResult, Settings
from eval_now.scoring.result_files import load_distances, load_result, save_distances, save_result
from eval_now.scoring.score import ImageScore, ScoredImage
from eval_now.scoring.statistics import Interval, Pooled

SCORE = ImageScore(
    image="s/c/i.jpg", subject="s", challenge="c", protocol="metrical", count=2, median=1.5,
    mean=1.25, std=0.5, largest=2.0, steps=3, turn_degrees=0.5, reflected=False, scale=1.0,
    rotation=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), shift=(0.0, 1.0, 2.0),
)  # fmt: skip
POOLED = Pooled(
    median=1.5, mean=1.25, std=0.5, count=2, images=1, subjects=1,
    mean_ci=Interval(low=1.0, high=2.0),
)  # fmt: skip
RESULT = RunResult(
    name="mine",
    created="2026-01-01T00:00:00+00:00",
    complete=False,
    images_listed=2,
    settings=Settings(
        split="val", dataset="now", predictions="p", predictor=None, unit="mm",
        challenges=("c",), image_list=None, dataset_id="0" * 16, predictions_id="1" * 16,
    ),
    software=("pacofr 0.1.0",),
    protocols=(
        ProtocolResult(
            protocol="metrical",
            pooled=POOLED,
            challenges=(ChallengeResult(challenge="c", pooled=POOLED),),
            images=(SCORE,),
        ),
    ),
    missing=(MissingImage(image="s/c/j.jpg", reason="no prediction"),),
    warnings=(ImageWarning("step_limit", "s/c/i.jpg", "metrical", "cut off"),),
)  # fmt: skip
MANIFEST = Manifest(
    predictor="mine", unit="mm", dataset="now", fingerprint=None,
    photos=(("s/c/i.jpg", "0" * 16),), not_neutral=("s/c/i.jpg",), failed=(("s/c/j.jpg", "dark"),),
)  # fmt: skip


def test_what_was_written_is_read(tmp_path):
    save_result(tmp_path, RESULT)
    assert load_result(tmp_path) == RESULT
    save_manifest(tmp_path, MANIFEST)
    assert load_manifest(tmp_path) == MANIFEST


def test_results_of_earlier_versions_load(tmp_path):
    """They hold paths and no ids."""
    save_result(tmp_path, RESULT)
    content = json.loads((tmp_path / "result.json").read_text())
    content["settings"]["dataset"] = "/data/now"
    del content["settings"]["dataset_id"], content["settings"]["predictions_id"]
    (tmp_path / "result.json").write_text(json.dumps(content))
    old = replace(RESULT.settings, dataset="/data/now", dataset_id=None, predictions_id=None)
    assert load_result(tmp_path) == replace(RESULT, settings=old)


HOSTILE = {
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "rather deep": "[" * 60 + "]" * 60,
    "endless number": "1" * 100_000,
    "not a number": '{"format": NaN}',
    "no object": "[1]",
    "null": "null",
    "text": '"eval-now result"',
    "cut": '{"format": "eval-now res',
    "not UTF-8": '{"format": "\xff"}',
    "zero bytes": "\0" * 100,
    "empty": "",
    "other": json.dumps({"format": "eval-now result", "version": 99, "unit": "mm"}),
    "bare": json.dumps({"format": "eval-now result", "version": 1, "unit": "mm"}),
    "control characters": json.dumps({"format": "eval-now result", "version": 1, "unit": "mm",
                                      "\x1b[2J\n" * 300: 1}),
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_one_line(tmp_path, capsys, text):
    for name, load in (("result.json", load_result), ("predictions.json", load_manifest)):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=name):
            load(tmp_path)
    assert main(["compare", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.strip().isprintable()
    assert len(error) < 600


def test_json_is_bounded(tmp_path):
    (tmp_path / "result.json").write_bytes(b" " * (33 * 2**20))
    with pytest.raises(UserError, match="expected at most 32 MiB"):
        load_result(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("name",), 5, "expected text for 'name', found 5"),
        (("complete",), 0, "expected true or false for 'complete', found 0"),
        (("images_listed",), True, "expected a whole number for 'images_listed', found True"),
        (("images_listed",), 2.0, "expected a whole number for 'images_listed', found 2.0"),
        (("settings", "split"), "train", "expected one of val, test for 'settings.split'"),
        (("settings", "challenges"), "c", "expected a list for 'settings.challenges', found 'c'"),
        (("settings", "unit"), "km", "for 'settings.unit', found 'km'"),
        (("protocols",), [], "holds no figures"),
        (("protocols", 0, "images"), [], "holds no figures"),
        (("protocols", 0, "protocol"), None, "for 'protocols[0].protocol', found None"),
        (("protocols", 0, "pooled", "median"), float("nan"), "pooled.median', found nan"),
        (("protocols", 0, "pooled", "median"), 10**400, "pooled.median', found a huge number"),
        (("protocols", 0, "pooled", "mean"), float("inf"), "pooled.mean', found inf"),
        (("protocols", 0, "pooled", "median_ci"), [], "pooled.median_ci', found a list"),
        (("protocols", 0, "images", 0, "shift"), [1, 2], "expected a list of 3 for 'protocols[0]"),
        (("protocols", 0, "images", 0, "rotation", 1), [1, 2, "3"], "rotation[1][2]', found '3'"),
        (("warnings", 0, "name"), "other", "for 'warnings[0].name', found 'other'"),
        (("missing", 0), {"image": "i"}, "'missing[0]' has no 'reason'"),
        (("extra" + "x" * 1000,), 1, "the file has an unknown 'extraxx"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, place, value, message):
    save_result(tmp_path, RESULT)
    content = json.loads((tmp_path / "result.json").read_text())
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        load_result(tmp_path)
    assert message in str(caught.value)


def test_a_whole_number_stands_for_a_float(tmp_path):
    save_result(tmp_path, RESULT)
    path = tmp_path / "result.json"
    path.write_text(path.read_text().replace('"median": 1.5', '"median": 2'))
    assert load_result(tmp_path).protocols[0].pooled.median == 2.0


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3)
SCALARS |= st.sampled_from([10**400, 1e300, float("nan"), -float("inf")])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def places_in(content: object, here: tuple = ()) -> list[tuple]:
    places = []
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        places.append((*here, key))
        if isinstance(value, dict | list):
            places += places_in(value, (*here, key))
    return places


def exchange_a_value(folder: Path, number: int, value: object) -> None:
    """Exchange any value of both files, then read or refuse them."""
    save_result(folder, RESULT)
    save_manifest(folder, MANIFEST)
    for name, load in (("result.json", load_result), ("predictions.json", load_manifest)):
        content = json.loads((folder / name).read_text())
        places = places_in(content)
        *way, last = places[number % len(places)]
        inside = content
        for key in way:
            inside = inside[key]
        inside[last] = copy.deepcopy(value)
        (folder / name).write_text(json.dumps(content))
        try:
            load(folder)
        except UserError as error:
            assert name in str(error)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 1000), VALUES)
def test_exchanged_values_are_read_or_refused(tmp_path_factory, number, value):
    exchange_a_value(tmp_path_factory.getbasetemp(), number, value)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, derandomize=True)
@given(st.integers(0, 1000), VALUES)
def test_exchanged_values_are_read_or_refused_at_length(tmp_path_factory, number, value):
    exchange_a_value(tmp_path_factory.getbasetemp(), number, value)


def test_distances_are_finite_lists_of_numbers(tmp_path):
    path = tmp_path / "distances_metrical.npz"
    good = np.array([0.5, 1.5], np.float32)
    save_distances(tmp_path, "metrical", [ScoredImage(SCORE, good)])
    np.testing.assert_array_equal(load_distances(tmp_path, "metrical")["s/c/i.jpg"], good)
    for wrong, message in (
        (np.array([np.nan]), "not finite"),
        (np.zeros((2, 2)), "expected a list of distances"),
        (np.array([1, 2]), "expected a list of distances"),
        (np.array(["a"]), "again"),
        (np.array([{}], dtype=object), "expected a list of distances"),
        (np.zeros(0, np.float32), "holds no distances"),
    ):
        np.savez(path, **{"s/c/i.jpg": wrong})
        with pytest.raises(UserError, match=message):
            load_distances(tmp_path, "metrical")
    path.unlink()
    with pytest.raises(UserError, match="run `eval-now` for this folder again"):
        load_distances(tmp_path, "metrical")
