"""Only regular files within their budget are read."""

import os
import socket

import pytest

from pacofr.errors import UserError
from pacofr.utils.bounded import read_bounded


def test_a_file_at_its_budget_is_read_and_one_above_is_refused(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes(1000))
    assert read_bounded(file, 1000) == bytes(1000)
    with pytest.raises(UserError, match="has 1000 bytes: expected at most 999"):
        read_bounded(file, 999)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises((UserError, OSError)):
            read_bounded(tmp_path / "s", 10)
    for path, kind in (
        (tmp_path, "a folder"),
        (tmp_path / "fifo", "a FIFO"),
        ("/dev/zero", "a dev"),
    ):
        with pytest.raises(UserError, match=f"is {kind}"):
            read_bounded(path, 10)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 10)


def test_a_file_that_holds_more_than_its_size_is_refused():
    with pytest.raises(UserError, match="stored file"):  # such files say that they have 0 bytes
        read_bounded("/proc/self/maps", 10**6)
