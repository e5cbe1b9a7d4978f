"""The downloader against a server on this machine that behaves as MPI's: forms, cuts, ranges."""

import io
import logging
import random
import struct
import zipfile

import numpy as np
import pytest
from helpers.flame_tiny import files_of_at_most
from helpers.form_server import form_server

from flame_assets.download.flame_archives import Account, Archive, ask_account, download
from flame_assets.download.transfer import Limits
from flame_assets.errors import UserError

ACCOUNT = Account("someone@example.org", "s3cret&word")


def archive_bytes() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("generic_model.pkl", np.random.default_rng(0).bytes(300_000))
    return stream.getvalue()


DATA = archive_bytes()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with form_server(DATA, ACCOUNT._asdict()) as server:
        yield server


FLAME = Archive(file="FLAME2020.zip")


def fetch(server, folder, account=ACCOUNT, archive=FLAME):
    return download(archive, folder, account, endpoint=server.endpoint)


def test_a_download_arrives_whole_and_once(server, tmp_path):
    path = fetch(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.glob("[!.]*")] == ["FLAME2020.zip"]
    assert fetch(server, path.parent) == path
    assert len(server.seen) == 1


def test_cuts_are_continued_where_they_were(server, tmp_path):
    server.cuts = [50_000, 60_001]
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert [place for _, place in server.seen] == [None, "bytes=50000-", "bytes=110001-"]


def test_the_next_run_continues_what_the_last_one_left(server, tmp_path):
    server.cuts = [20_000, 0, 0, 0, 0]
    with pytest.raises(UserError, match="cut 5 times.*same command again"):
        fetch(server, tmp_path)
    assert (tmp_path / "FLAME2020.zip.part").stat().st_size == 20_000
    assert not (tmp_path / "FLAME2020.zip").exists()
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.seen[-1][1] == "bytes=20000-"


def test_nothing_but_cuts_is_one_line(server, tmp_path):
    server.status = None  # hangs up without a word
    with pytest.raises(UserError, match="cut 5 times, 0 MiB are here"):
        fetch(server, tmp_path)


def test_a_full_disk_is_not_taken_for_a_cut(server, tmp_path):
    with files_of_at_most(50_000), pytest.raises(UserError, match="cannot write .*mend that"):
        fetch(server, tmp_path)
    assert len(server.seen) == 1
    assert (tmp_path / "FLAME2020.zip.part").stat().st_size == 50_000
    assert fetch(server, tmp_path).read_bytes() == DATA


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    server.cuts = [50_000]
    assert fetch(server, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_a_finished_or_overlong_part_is_sorted_out(server, tmp_path, extra):
    (tmp_path / "FLAME2020.zip.part").write_bytes(DATA + extra)
    assert fetch(server, tmp_path).read_bytes() == DATA


def test_a_part_of_another_file_is_noticed(server, tmp_path):
    (tmp_path / "FLAME2020.zip.part").write_bytes(b"PK" + bytes(10_000))
    with pytest.raises(UserError, match="came damaged .* and was deleted"):
        fetch(server, tmp_path)
    assert not list(tmp_path.glob("[!.]*"))
    assert fetch(server, tmp_path).read_bytes() == DATA


def test_a_wrong_password_is_one_clear_line_and_spares_the_part(server, tmp_path, caplog, capfd):
    (tmp_path / "FLAME2020.zip.part").write_bytes(DATA[:7000])
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UserError, match="user name or password is wrong") as caught:
        fetch(server, tmp_path, Account("someone@example.org", "wr0ng"))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "FLAME2020.zip.part").read_bytes() == DATA[:7000]
    said = str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert "wr0ng" not in said
    assert "someone@" not in said
    assert "wr0ng" not in repr(Account("me", "wr0ng"))


def test_the_account_never_stands_in_an_address(server, tmp_path):
    fetch(server, tmp_path)
    assert server.seen[0][0].keys() == {"domain", "sfile", "resume"}


@pytest.mark.parametrize(
    ("status", "words"), [(401, "password is wrong"), (500, "answered 500"), (404, "answered 404")]
)
def test_http_errors_are_one_line(server, tmp_path, status, words):
    server.status = status
    with pytest.raises(UserError, match=words):
        fetch(server, tmp_path)
    assert not list(tmp_path.glob("[!.]*"))


def test_a_checksum_decides_where_it_is_known(server, tmp_path):
    wrong = Archive(file="FLAME2020.zip", sha256="0" * 64)
    with pytest.raises(UserError, match="damaged"):
        fetch(server, tmp_path, archive=wrong)
    assert not list(tmp_path.glob("[!.]*"))


def test_free_archives_need_no_account(server, tmp_path):
    free = Archive(file="FLAME_masks.zip", url=server.endpoint.replace("download.php", "m.zip"))
    assert fetch(server, tmp_path, None, free).read_bytes() == DATA
    with pytest.raises(UserError, match="needs an account"):
        fetch(server, tmp_path, None)


def test_no_server_is_one_line(server, tmp_path):
    endpoint = server.endpoint.replace(str(server.server_port), "9")
    with pytest.raises(UserError, match="cannot reach 127.0.0.1"):
        download(FLAME, tmp_path, ACCOUNT, endpoint=endpoint)


def test_the_account_comes_from_the_environment_or_the_terminal(monkeypatch):
    monkeypatch.setenv("FLAME_USERNAME", "a")
    monkeypatch.setenv("FLAME_PASSWORD", "b")
    assert ask_account() == ("a", "b")
    monkeypatch.delenv("FLAME_PASSWORD")
    monkeypatch.setattr("sys.stdin", io.StringIO("nobody\n"))
    with pytest.raises(UserError, match="FLAME_PASSWORD"):
        ask_account()


def test_leaving_the_prompt_is_one_line(monkeypatch):
    def nothing(_):
        raise EOFError

    monkeypatch.delenv("FLAME_USERNAME", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", nothing)
    with pytest.raises(UserError, match="no account was given"):
        ask_account()


# ---------------------------------------------------------------- servers that lie


@pytest.mark.parametrize("length", ["12abc", "-5", "9" * 5000, "", "1e9", None])
def test_lengths_that_are_none_are_not_believed(server, tmp_path, length):
    server.headers = {"Content-Length": length}
    assert fetch(server, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("place", ["bytes " + "9" * 5000 + "-", "bytes 9-5/9", "lines 0-5/9", "-"])
def test_ranges_that_are_none_are_not_believed(server, tmp_path, place):
    server.headers = {"Content-Range": place}
    (tmp_path / "FLAME2020.zip.part").write_bytes(DATA[:100])
    server.ranges = False
    assert fetch(server, tmp_path).read_bytes() == DATA


def test_a_length_beyond_any_archive_is_refused_before_it_comes(server, tmp_path):
    server.headers = {"Content-Length": 1 << 40}
    with pytest.raises(UserError, match="sends more than 4096 MiB"):
        fetch(server, tmp_path)
    assert not list(tmp_path.glob("[!.]*"))


def test_an_endless_answer_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr("flame_assets.download.flame_archives.ARCHIVE_BYTES", 1 << 20)
    server.endless, server.headers = True, {"Content-Length": None}
    with pytest.raises(UserError, match="sends more than 1 MiB"):
        fetch(server, tmp_path)
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://localhost:{}/x", "sends on to http://localhost.*expected https"),
        ("ftp://127.0.0.1:{}/x", "expected https"),
        ("file:///etc/passwd", "expected https|answered 302"),
        ("data:text/plain,PKxx", "expected https|answered 302"),
        ("http://[::bad/", "malformed address"),
        ("http://127.0.0.1:99999/", "expected https"),
        ("https://127.0.0.1:99999/", "malformed address"),
        ("/download.php", "answered 302"),
        ("gopher://x", "expected https|answered 302"),
    ],
)
def test_only_safe_redirections_are_followed(server, tmp_path, location, words):
    server.location = location.format(server.server_port)
    with pytest.raises(UserError, match=words) as caught:
        fetch(server, tmp_path)
    assert str(caught.value).isprintable()
    assert ACCOUNT.password not in str(caught.value)


def test_a_redirection_within_the_host_is_followed_without_the_account(server, tmp_path):
    server.location = "/files/FLAME2020.zip"
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert [seen[0] for seen in server.seen][1:] == ["/files/FLAME2020.zip"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"HTTP/1.1 418 \x1b]0;owned\x07 evil " + b"A" * 3000 + b"\r\n\r\n", "answered 418"),
        (b"GARBAGE\r\n\r\n", "was cut"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 300 + b"\r\n", "was cut"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", "was cut"),
        (b"HTTP/1.1 204 None\r\n\r\n", "was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nPK", "was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nPK", "was cut"),
    ],
)
def test_malformed_answers_are_one_line(server, tmp_path, raw, words):
    server.raw = raw
    with pytest.raises(UserError, match=words) as caught:
        fetch(server, tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nPK" + b"P" * 10_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 10_000,
    ],
    ids=["body", "headers", "chunk size"],
)
def test_whatever_drips_is_given_up(server, tmp_path, raw):
    server.raw, server.drip = raw, 0.02
    limits = Limits(silence_s=5.0, grace_s=0.4, slowest_bytes_per_s=1e6)
    with pytest.raises(UserError, match="too slowly"):
        download(FLAME, tmp_path, ACCOUNT, endpoint=server.endpoint, limits=limits)


@pytest.mark.parametrize("copies", [1, 50])
def test_a_bomb_is_refused_before_it_unpacks(server, tmp_path, monkeypatch, copies):
    """One member of 20 MiB, or a directory that lists it fifty times."""
    monkeypatch.setattr("flame_assets.download.flame_archives.ARCHIVE_UNPACKED", 10 << 20)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("generic_model.pkl", bytes(20 << 20))
    data = stream.getvalue()
    start, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entries, tail = data[start:end] * copies, bytearray(data[end:])
    struct.pack_into("<HHL", tail, 8, copies, copies, len(entries))
    server.data = data[:start] + entries + bytes(tail)
    words = "of 20 MiB" if copies == 1 else "lists a member twice"
    with pytest.raises(UserError, match=f"came damaged .*{words}.* was deleted"):
        fetch(server, tmp_path)
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.slow
def test_damaged_answers_arrive_or_are_one_line(server, tmp_path):
    rng, refused = random.Random(12), 0
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Range: bytes 0-9/10\r\n\r\n" % len(
        DATA
    )
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    limits = Limits(silence_s=1.0, grace_s=5.0, attempts=2)
    for index in range(400):
        answer = bytearray(head + DATA if index % 2 else chunks % (len(DATA), DATA))
        for _ in range(rng.randint(1, 3)):
            at, size = rng.randrange(90), rng.randint(1, 6)
            answer[at : at + rng.choice([0, size])] = rng.choice([b"", rng.randbytes(size)])
        server.raw = bytes(answer)
        folder = tmp_path / str(index)
        try:
            path = download(FLAME, folder, ACCOUNT, endpoint=server.endpoint, limits=limits)
            assert zipfile.is_zipfile(path)
        except UserError as error:
            refused += str(error).isprintable() and len(str(error)) <= 500
            assert not list(folder.glob("[!.]*.zip"))  # noqa: PT017
    print(f"{refused} of 400 damaged answers refused, the others gave the archive")
    assert refused > 100
