"""Cached splits are the splits, without the data set; and subsets of labels."""

import json
import shutil

import numpy as np
import pytest
from helpers.mutations import damaged_json
from helpers.task_trees import write_celebamask_hq, write_pts_tree

from pacofr.errors import UserError
from pacofr.tasks.alignment.layouts import load_alignment_split
from pacofr.tasks.cache import cached_split
from pacofr.tasks.parsing.labels import read_labels
from pacofr.tasks.parsing.layouts import load_parsing_split
from pacofr.tasks.records import read_photo


def test_a_cached_split_is_the_split_without_its_data_set(tmp_path):
    root = write_pts_tree(tmp_path / "photos", 3)
    direct = load_alignment_split("pts", root, "test")
    photos = [read_photo(sample) for sample in direct.samples]

    def load():
        return load_alignment_split("pts", root, "test")

    first = cached_split(tmp_path / "cache", "pts", "test", load, points=68)
    shutil.rmtree(root)
    again = cached_split(tmp_path / "cache", "pts", "test", load, points=68)
    for split in (first, again):
        assert split.fingerprint == direct.fingerprint
        assert {n: tuple(p) for n, p in split.subsets.items()} == dict(direct.subsets)
        for sample, photo in zip(split.samples, photos, strict=True):
            np.testing.assert_array_equal(read_photo(sample), photo)


def test_cached_labels_are_the_merged_ones(tmp_path):
    root = write_celebamask_hq(tmp_path / "celeba")
    direct = load_parsing_split("celebamask-hq", root, "train")
    cached = cached_split(
        tmp_path / "cache",
        "celebamask-hq",
        "train",
        lambda: direct,
        lambda sample: read_labels(sample, 19),
        points=5,
    )
    for ours, theirs in zip(cached.samples, direct.samples, strict=True):
        np.testing.assert_array_equal(read_labels(ours, 19), read_labels(theirs, 19))
        np.testing.assert_array_equal(read_photo(ours), read_photo(theirs))
    assert cached.other_counts == direct.other_counts


@pytest.mark.parametrize("damage", ["cut", "moved", "other"])
def test_a_damaged_cache_is_one_line(damage, tmp_path):
    root = write_pts_tree(tmp_path / "photos", 2)
    split = load_alignment_split("pts", root, "test")
    cached_split(tmp_path / "cache", "pts", "test", lambda: split, points=68)
    folder = tmp_path / "cache/pts-test"
    shard, index = folder / "shard-000000.tar", folder / "index.json"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "moved":
        index.write_text(index.read_text().replace('"offset": 512', '"offset": 9999999', 1))
    else:
        index.write_text('{"format": "other"}')
    with pytest.raises(UserError, match="to have it made anew"):
        cached_split(tmp_path / "cache", "pts", "test", lambda: split, points=68)


def test_a_cache_with_any_other_index_is_read_or_one_line(tmp_path):
    root = write_pts_tree(tmp_path / "photos", 2)
    split = load_alignment_split("pts", root, "test")
    cached_split(tmp_path / "cache", "pts", "test", lambda: split, points=68)
    index = tmp_path / "cache/pts-test/index.json"
    lines = []
    for text in damaged_json(json.loads(index.read_text()), 1, 150):
        index.write_text(text)
        try:
            for sample in cached_split(
                tmp_path / "cache", "pts", "test", lambda: split, points=68
            ).samples:
                assert sample.points.shape == (68, 2)
                assert sample.box.shape == (4,)
                read_photo(sample)
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > 50
    assert all(len(line.splitlines()) == 1 for line in lines)


def test_fewer_labels_are_a_part_of_more(tmp_path):
    root = write_pts_tree(tmp_path, 6)
    split = load_alignment_split("pts", root, "train")
    names = [{s.name for s in split.subset(count, 1).samples} for count in (2, 4, 6)]
    assert [len(part) for part in names] == [2, 4, 6]
    assert names[0] < names[1] < names[2]
    other = {s.name for seed in range(5) for s in split.subset(2, seed).samples}
    assert len(other) > 2
    with pytest.raises(UserError, match="expected 7 labelled pictures"):
        split.subset(7, 0)
