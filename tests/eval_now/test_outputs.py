"""What eval-now writes and shows of a run: folder, rows, intervals, pictures, processes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.eval_toy import NAMES, evaluate, write_now, write_predictions

from eval_now.config import EvalConfig
from eval_now.data.synthetic import PICTURE_ROOT
from eval_now.errors import UserError
from eval_now.report.heatmaps import choose_images
from eval_now.report.tables import describe_images, table_rows
from eval_now.run import default_out
from eval_now.scoring.result_files import load_result
from eval_now.scoring.score import ImageScore, ScoredImage
from eval_now.scoring.statistics import pool

BLANK = ImageScore(
    image="", subject="s", challenge="c", protocol="metrical", count=1, median=0.0, mean=0.0,
    std=0.0, largest=0.0, steps=1, turn_degrees=0.0, reflected=False, scale=1.0,
    rotation=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), shift=(0.0, 0.0, 0.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set, two images listed."""
    return write_now(tmp_path_factory.mktemp("now"), NAMES[:2])


def test_worst_best_and_median_images_are_chosen_once():
    def one(image: str, median: float) -> ScoredImage:
        return ScoredImage(replace(BLANK, image=image, median=median), np.zeros(1, np.float32))

    scored = [
        one(name, median) for name, median in zip("abcde", (3.0, 1.0, 2.0, 5.0, 4.0), strict=True)
    ]
    assert [(name, one.score.image) for name, one in choose_images(scored, 1)] == [
        ("worst 1", "d"),
        ("best 1", "b"),
        ("median 1", "a"),
    ]
    assert len(choose_images(scored, 4)) == 5


def test_rows_say_which_images_they_measure(now, tmp_path):
    listed = tmp_path / "some.txt"
    listed.write_text("\n".join(NAMES[:2]))
    predictions = write_predictions(tmp_path / "p", names=NAMES[:2])
    result, text = evaluate(now, predictions=predictions, image_list=listed, out=tmp_path / "o")
    rows = [(row.challenge, row.whole) for row in table_rows([result])]
    assert rows == [("some.txt", True), ("neutral", False), ("selfie", False)]
    assert "some.txt" in text
    both = replace(result.settings, challenges=("multiview_neutral", "selfie"))
    assert describe_images(both) == "some.txt, neutral + selfie"
    assert describe_images(replace(both, image_list=None, challenges=())) == "all"


def test_two_methods_do_not_share_a_default_folder(now, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = (
        write_predictions(tmp_path / place, names=NAMES[:1]) for place in ("a/one", "b/one")
    )
    listed = tmp_path / "list.txt"
    listed.write_text(NAMES[0])
    result, _ = evaluate(now, predictions=one, image_list=listed)
    assert result.name == "one"
    assert load_result(Path("now_result/one")) == result
    with pytest.raises(UserError, match=r"one: holds the result of other .*\(one on now.*--out D"):
        evaluate(now, predictions=other, image_list=listed)
    assert load_result(Path("now_result/one")) == result
    evaluate(now, predictions=Path("a/one"), image_list=listed)  # the same, scored again
    named = EvalConfig(predictor="mica_ext:runs/x/model")
    assert default_out(named) == Path("now_result/mica_ext_runs_x_model")
    again = EvalConfig(predictions=Path("now_result/mine/predictions"))
    assert default_out(again) == Path("now_result/mine")


def test_no_interval_beyond_the_histograms():
    scored = []
    for subject, distance in (("a", 10.0), ("b", 20.0), ("c", 50.0)):
        score = replace(BLANK, image=subject, subject=subject)
        scored.append(ScoredImage(score, np.full(9, distance, np.float32)))
    far = pool(scored)
    assert far.median == 20.0
    assert far.median_ci is None
    assert far.mean_ci is not None
    near = pool([one._replace(distances=one.distances / 10) for one in scored])
    assert near.median_ci is not None
    assert near.median_ci.low == pytest.approx(1.0, abs=0.01)


def test_a_truncated_photo_is_left_out_of_the_picture(now, tmp_path):
    copy = shutil.copytree(now, tmp_path / "now")
    photo = copy / PICTURE_ROOT / "iphone_pictures" / NAMES[0]
    photo.write_bytes(photo.read_bytes()[:400])
    listed = tmp_path / "list.txt"
    listed.write_text(NAMES[0])
    predictions = write_predictions(tmp_path / "p", names=NAMES[:1])
    evaluate(copy, predictions=predictions, image_list=listed, out=tmp_path / "o", heatmaps=1)
    assert list((tmp_path / "o/heatmaps/non-metrical").iterdir())
