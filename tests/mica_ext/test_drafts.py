"""Files that belong together take their places together, or everything stays as it was."""

import pytest

from mica_ext.commands.staging import drafted
from mica_ext.errors import UserError
from mica_ext.export.mesh_files import write_whole


def everything(folder):
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def places(tmp_path):
    """A new file, one that is there, and one in another folder."""
    (tmp_path / "other").mkdir()
    (tmp_path / "old").write_text("old")
    return [tmp_path / "new", tmp_path / "old", tmp_path / "other" / "third"]


def test_all_are_put_at_the_end_of_the_block(places, tmp_path):
    with drafted(places) as drafts:
        for place in places:
            drafts[place].write_text(f"{place.name} anew")
        assert everything(tmp_path)["old"] in ("old", "old anew")
        assert places[1].read_text() == "old"
        assert not places[0].exists()
    names = ("new", "old", "third")
    assert everything(tmp_path) == {name: f"{name} anew" for name in names}
    assert len(list(tmp_path.iterdir())) == 3  # nothing hidden stays


def written(places, then):
    with drafted(places) as drafts:
        for place in places:
            drafts[place].write_text("x")
        then(drafts)


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_all_as_it_was(places, tmp_path, error):
    def fail(_):
        raise error

    with pytest.raises(type(error)):
        written(places, fail)
    assert everything(tmp_path) == {"old": "old"}


def test_a_file_that_cannot_be_put_takes_the_others_back(places, tmp_path):
    with pytest.raises(UserError, match="new: cannot be written"):
        written(places, lambda _: places[0].mkdir())  # the first is put last
    assert everything(tmp_path) == {"old": "old"}
    assert places[0].is_dir()


def test_errors_name_the_file_and_not_its_draft(places):
    with pytest.raises(UserError) as caught:
        written(places, lambda drafts: write_whole(drafts[places[1]] / "no", b""))
    assert str(caught.value).startswith(f"{places[1]}/no: cannot be written")
