"""Locks between processes: one at a time, and free again when their process is killed."""

import subprocess
import sys

import pytest
from helpers.pacofr_tiny import TinyCrops, tiny_config

from pacofr.engine.task import RunOptions
from pacofr.errors import UserError
from pacofr.pretraining.train import pretrain
from pacofr.utils.locks import exclusive_run, file_lock

HOLDS = """
import sys, time
from pathlib import Path
from pacofr.utils.locks import file_lock
with file_lock(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held_by_another(tmp_path):
    """A place, and the process that holds it."""
    place = tmp_path / "deep" / ".run"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(place)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    yield place, other
    other.kill()
    other.communicate()


def test_a_claim_is_one_process_at_a_time_and_ends_when_that_is_killed(held_by_another):
    place, other = held_by_another
    with file_lock(place) as mine, file_lock(place.with_name("else")) as another:
        assert (mine, another) == (False, True)
    other.kill()
    other.wait()
    with file_lock(place) as mine:
        assert mine


def test_two_runs_in_one_folder_are_refused_and_the_first_is_left_alone(held_by_another):
    run = held_by_another[0].parent
    before = sorted(run.iterdir())
    with pytest.raises(UserError, match="another process is at work in"):
        pretrain(tiny_config(epochs=1), TinyCrops(), RunOptions(out=run, device="cpu"))
    assert sorted(run.iterdir()) == before
    held_by_another[1].kill()
    held_by_another[1].wait()
    assert pretrain(tiny_config(epochs=1), TinyCrops(), RunOptions(out=run, device="cpu")) == 0
    with exclusive_run(run):  # free again after the run
        pass


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="expected a folder to write to"),
        file_lock(tmp_path / "file/a"),
    ):
        pass
