"""Conditions on the metadata that img2dataset writes beside each photo."""

import contextlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
from helpers.tars import write_tar

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.curate import curate
from pacofr.data.curation.run_folder import settings_json
from pacofr.data.curation.sources.conditions import parse_condition
from pacofr.data.curation.sources.units import find_units, read_photos
from pacofr.data.curation.stats import Counter, Reason
from pacofr.errors import UserError

ABOUT = [
    {"NSFW": "UNLIKELY", "similarity": 0.41},
    {"NSFW": "UNSURE", "similarity": 0.35},
    {"NSFW": "NSFW", "similarity": 0.40},
    {"NSFW": "UNLIKELY", "similarity": "0.2"},
    {"NSFW": None, "similarity": [1]},
]


def in_a_thread(jobs):
    """Instead of processes, which take seconds to start."""
    return ThreadPoolExecutor(1)


@pytest.fixture
def tar(tmp_path):
    members = []
    for number, about in enumerate(ABOUT):
        members.append((f"{number}.jpg", b"photo"))
        members.append((f"{number}.json", json.dumps(about).encode()))
    members.append(("5.jpg", b"photo"))  # without metadata
    members += [("6.jpg", b"photo"), ("6.json", b"[1, 2")]
    return write_tar(tmp_path / "source/00000.tar", members)


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ([], "0123456"),
        (["NSFW=UNLIKELY,UNSURE"], "013"),
        (["NSFW!=NSFW"], "013"),
        (["NSFW = UNLIKELY", "similarity >= 0.35"], "0"),
        (["similarity<0.4"], "13"),
        (["width>100"], ""),
    ],
)
def test_photos_that_meet_all_conditions_are_read(tar, conditions, kept):
    (unit,) = find_units((tar,)).units
    parsed = [parse_condition(text) for text in conditions]
    photos = list(read_photos(unit, None, Counter(), with_ids=False, conditions=parsed))
    assert "".join(photo.key for photo in photos if photo.problem is None) == kept
    others = [photo for photo in photos if photo.problem is not None]
    assert {photo.problem for photo in others} <= {Reason.CONDITION}
    assert all(photo.data == b"" for photo in others)
    assert len(photos) == 7


@pytest.mark.parametrize("text", ["", "NSFW", "=UNLIKELY", "similarity>high", "a>nan", "a b=c"])
def test_conditions_of_another_form_are_one_line(text, tmp_path):
    with pytest.raises(UserError, match=r"--where .*expected"):
        CurateConfig(sources=(tmp_path,), out=tmp_path, where=(text,))


def test_photos_that_do_not_meet_them_are_counted(tar, tmp_path):
    config = CurateConfig(sources=(tar.parent,), out=tmp_path / "out", jobs=1, where=("width>1",))
    with pytest.raises(UserError, match="no face was kept of 7 photos \\(7 other metadata\\)"):
        curate(config, in_a_thread)


def test_a_folder_of_photos_has_no_metadata(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    (unit,) = find_units((tmp_path,)).units
    some = [parse_condition("NSFW!=NSFW")]
    photos = list(read_photos(unit, None, Counter(), with_ids=False, conditions=some))
    assert [photo.problem for photo in photos] == [Reason.CONDITION]


def test_a_folder_begun_without_conditions_is_that_of_earlier_versions(tmp_path):
    config = CurateConfig(sources=(tmp_path,), out=tmp_path / "out")
    assert "where" not in settings_json(config)
    asked = CurateConfig(sources=(tmp_path,), out=tmp_path / "out", where=("NSFW=UNLIKELY",))
    assert settings_json(asked)["where"] == ["NSFW=UNLIKELY"]


def test_photos_are_counted_once_for_all_parts(tar, tmp_path):
    out = tmp_path / "out"
    config = CurateConfig(sources=(tar.parent,), out=out, jobs=1, sample=3, where=("width>1",))
    with pytest.raises(UserError, match="no face was kept of 3 photos"):
        curate(config, in_a_thread)
    counts = out / ".parts/counts.json"
    known = json.loads(counts.read_text())
    assert list(known.values()) == [7]
    counts.write_text(json.dumps(dict.fromkeys(known, "many")))
    with pytest.raises(UserError, match=r"counts\.json: expected numbers of photos"):
        curate(config, in_a_thread)


def test_a_process_lost_while_counting_is_one_line(tar, tmp_path):
    class Dying:
        def submit(self, function, *arguments):
            future = Future()
            future.set_exception(BrokenProcessPool("terminated abruptly"))
            return future

    config = CurateConfig(sources=(tar.parent,), out=tmp_path / "out", sample=3)
    with pytest.raises(UserError, match="a process that counts photos was lost"):
        curate(config, lambda jobs: contextlib.nullcontext(Dying()))
