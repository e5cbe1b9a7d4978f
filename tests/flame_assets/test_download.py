"""The downloader against a server on this machine that behaves as MPI's: forms, cuts, ranges."""

import io
import logging
import re
import threading
import urllib.parse
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from helpers.flame_tiny import files_of_at_most

from flame_assets import download as module
from flame_assets.download import Account, Archive, ask_account, fetch_archive
from flame_assets.errors import UserError

ACCOUNT = Account("someone@example.org", "s3cret&word")
PAGE = b"<!DOCTYPE html><html>Please log in</html>"


def archive_bytes() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("generic_model.pkl", np.random.default_rng(0).bytes(300_000))
    return stream.getvalue()


DATA = archive_bytes()


class Server(ThreadingHTTPServer):
    """`cuts`: bytes each answer sends before the line drops; `ranges`: Range is honoured."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cuts, self.ranges, self.status = DATA, [], True, 200
        self.seen = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}/download.php"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(urllib.parse.parse_qsl(body, strict_parsing=True))
        query = dict(urllib.parse.parse_qsl(self.path.partition("?")[2]))
        self.server.seen.append((query, self.headers.get("Range")))
        good = query == {"domain": "flame", "sfile": "FLAME2020.zip", "resume": "1"}
        if self.server.status != 200:
            self.send_error(self.server.status)
        elif good and form == ACCOUNT._asdict():
            self.answer(self.server.data)
        else:
            self.send(200, PAGE, {"Content-Type": "text/html"})

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        self.answer(self.server.data)

    def answer(self, data):
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not (start and self.server.ranges):
            return self.send(200, data, {})
        at = int(start[1])
        if at >= len(data):
            return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        place = f"bytes {at}-{len(data) - 1}/{len(data)}"
        return self.send(206, data[at:], {"Content-Range": place})

    def send(self, status, data, headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(data)
        self.wfile.write(data[:cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "CHUNK", 10_000)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


FLAME = Archive(file="FLAME2020.zip")


def fetch(server, folder, account=ACCOUNT, archive=FLAME):
    return fetch_archive(archive, folder, account, endpoint=server.endpoint)


def test_a_download_arrives_whole_and_once(server, tmp_path):
    path = fetch(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir()] == ["FLAME2020.zip"]
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


def test_nothing_but_cuts_is_one_line(server, tmp_path, monkeypatch):
    def urlopen(*_, **__):
        raise ConnectionResetError

    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
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
    with pytest.raises(UserError, match="damaged and was deleted"):
        fetch(server, tmp_path)
    assert not list(tmp_path.iterdir())
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
    assert not list(tmp_path.iterdir())


def test_a_checksum_decides_where_it_is_known(server, tmp_path):
    wrong = Archive(file="FLAME2020.zip", sha256="0" * 64)
    with pytest.raises(UserError, match="damaged"):
        fetch(server, tmp_path, archive=wrong)
    assert not list(tmp_path.iterdir())


def test_free_archives_need_no_account(server, tmp_path):
    free = Archive(file="FLAME_masks.zip", url=server.endpoint.replace("download.php", "m.zip"))
    assert fetch(server, tmp_path, None, free).read_bytes() == DATA
    with pytest.raises(UserError, match="needs an account"):
        fetch(server, tmp_path, None)


def test_no_server_is_one_line(server, tmp_path):
    endpoint = server.endpoint.replace(str(server.server_port), "9")
    with pytest.raises(UserError, match="cannot reach 127.0.0.1"):
        fetch_archive(FLAME, tmp_path, ACCOUNT, endpoint=endpoint)


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
