# ruff: noqa: PT017 - properties either read or refuse
"""Image lists of eval_now: entries, repeats, and paths that stay inside the folder."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval_now.data.image_list import read_image_list, select_challenges
from eval_now.errors import UserError


def test_image_list_with_windows_line_ends_and_blank_lines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(
        b"\xef\xbb\xbfA_01_TA/selfie/IMG_1.jpg\r\n\r\n  A_01_TA/neutral/IMG_1.jpg \r\n"
    )
    entries = read_image_list(path)
    assert [entry.name for entry in entries] == [
        "A_01_TA/selfie/IMG_1.jpg",
        "A_01_TA/neutral/IMG_1.jpg",
    ]
    assert entries[0].stem == "IMG_1"
    assert [entry.challenge for entry in select_challenges(entries, ("selfie",))] == ["selfie"]
    with pytest.raises(UserError, match="--challenge x: the image list has neutral, selfie"):
        select_challenges(entries, ("x",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/b/c.jpg\nb/c.jpg\n", "line 2: expected SUBJECT/CHALLENGE/IMAGE.jpg"),
        ("../b/c.jpg\n", "line 1: expected"),
        ("a\\b\\c.jpg\n", "line 1: expected"),
        ("/b/c.jpg\n", "line 1: expected"),
        ("\n\n", "the image list is empty"),
    ],
)
def test_bad_image_lists_name_the_line(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_image_list(path)
    assert message in str(caught.value)
    assert "list.txt" in str(caught.value)


def test_an_image_listed_again_counts_once_and_is_named(tmp_path, caplog):
    path = tmp_path / "list.txt"
    path.write_text("a/b/c.jpg\nd/b/c.jpg\n\na/b/c.jpg\na/b/c.png\n")  # c.png: the same files
    assert [entry.name for entry in read_image_list(path)] == ["a/b/c.jpg", "d/b/c.jpg"]
    (record,) = caplog.records
    assert "list.txt line 4 repeats line 1: 'a/b/c.jpg' and 1 more" in record.getMessage()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(alphabet="ab./\\ \r\n\0é", max_size=40))
def test_any_image_list_stays_inside_the_folder(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text, newline="")
    try:
        entries = read_image_list(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        for entry in entries:
            assert (tmp_path / entry.name).resolve().is_relative_to(tmp_path.resolve())
