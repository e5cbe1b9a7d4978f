"""Files that belong together are repathd together, or everything stays as it was."""

import pytest

from mica_ext.commands.photo_run.staging import staged_files
from mica_ext.errors import UserError
from mica_ext.files import write_bytes_atomic


def everything(folder):
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def paths(tmp_path):
    """A new file, one that is there, and one in another folder."""
    (tmp_path / "other").mkdir()
    (tmp_path / "old").write_text("old")
    return [tmp_path / "new", tmp_path / "old", tmp_path / "other" / "third"]


def test_all_are_put_at_the_end_of_the_block(paths, tmp_path):
    with staged_files(paths) as staged:
        for path in paths:
            staged[path].write_text(f"{path.name} anew")
        assert everything(tmp_path)["old"] in ("old", "old anew")
        assert paths[1].read_text() == "old"
        assert not paths[0].exists()
    names = ("new", "old", "third")
    assert everything(tmp_path) == {name: f"{name} anew" for name in names}
    assert len(list(tmp_path.iterdir())) == 3  # nothing hidden stays


def written(paths, then):
    with staged_files(paths) as staged:
        for path in paths:
            staged[path].write_text("x")
        then(staged)


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_all_as_it_was(paths, tmp_path, error):
    def fail(_):
        raise error

    with pytest.raises(type(error)):
        written(paths, fail)
    assert everything(tmp_path) == {"old": "old"}


def test_a_file_that_cannot_be_put_takes_the_others_back(paths, tmp_path):
    with pytest.raises(UserError, match="new: cannot be written"):
        written(paths, lambda _: paths[0].mkdir())  # the first is put last
    assert everything(tmp_path) == {"old": "old"}
    assert paths[0].is_dir()


def test_errors_name_the_file_and_not_the_staged_file(paths):
    with pytest.raises(UserError) as caught:
        written(paths, lambda staged: write_bytes_atomic(staged[paths[1]] / "no", b""))
    assert str(caught.value).startswith(f"{paths[1]}/no: cannot be written")
