"""`flame-assets get` against a server on this machine that cuts, drips and lies."""

import hashlib
import io
import os
import re
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers.flame_tiny import files_of_at_most
from helpers.rights import unprivileged
from helpers.serving import serving

from flame_assets import cli
from flame_assets.download.catalogue import (
    CATALOGUE,
    Asset,
    asset_path,
    asset_status,
    require_asset,
)
from flame_assets.download.ict_facekit import fetch_ict
from flame_assets.download.public_files import fetch
from flame_assets.download.transfer import Limits
from flame_assets.errors import UserError

DATA = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """`cuts`: bytes each answer sends before the line drops; `drip`: seconds between its bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cuts, self.ranges, self.status, self.drip = DATA, [], True, 200, 0.0
        self.location, self.length = None, True
        self.seen = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.seen.append(self.headers.get("Range"))
        if self.path == "/moved" and self.server.location:
            self.send_response(302)
            self.send_header("Location", self.server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.server.status != 200:
            self.send_error(self.server.status)
        else:
            self.answer()

    def answer(self):
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        at = int(start[1]) if start and self.server.ranges else 0
        data = self.server.data[at:]
        self.send_response(206 if at else 200)
        if at:
            total = len(self.server.data)
            self.send_header("Content-Range", f"bytes {at}-{total - 1}/{total}")
        if self.server.length:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(data)
        try:
            if self.server.drip:
                for byte in data[:cut]:
                    self.wfile.write(bytes([byte]))
                    time.sleep(self.server.drip)
            else:
                self.wfile.write(data[:cut])
        except OSError:
            pass  # the client has gone
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    server = Server()
    with serving(server):
        yield server


def asset_at(server, path="/toy.bin", data=DATA):
    return Asset(
        url=server.address + path,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        licence="none needed",
        about="a toy",
    )


def test_a_file_arrives_whole_and_once(server, tmp_path):
    target = tmp_path / "new" / "folder" / "toy.bin"
    assert fetch(asset_at(server), target) == target
    assert target.read_bytes() == DATA
    assert not list(target.parent.glob(".*.part"))
    fetch(asset_at(server), target)
    assert server.seen == [None]


def test_cuts_are_continued_where_they_were(server, tmp_path):
    server.cuts = [50_000, 60_001]
    assert fetch(asset_at(server), tmp_path / "toy").read_bytes() == DATA
    assert server.seen == [None, "bytes=50000-", "bytes=110001-"]


def test_the_next_run_continues_what_the_last_one_left(server, tmp_path):
    server.cuts = [20_000, 0]
    with pytest.raises(UserError, match="cut 2 times, 20000 of 300000 .*same command again"):
        fetch(asset_at(server), tmp_path / "toy", Limits(attempts=2))
    assert not (tmp_path / "toy").exists()
    assert fetch(asset_at(server), tmp_path / "toy").read_bytes() == DATA
    assert server.seen[-1] == "bytes=20000-"


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges, server.cuts = False, [50_000]
    assert fetch(asset_at(server), tmp_path / "toy").read_bytes() == DATA


def test_what_is_damaged_is_fetched_anew(server, tmp_path):
    (tmp_path / "toy").write_bytes(DATA[:-1] + b"?")
    assert fetch(asset_at(server), tmp_path / "toy").read_bytes() == DATA


@pytest.mark.parametrize("left", [b"x" * 1000, DATA + b"too much"])
def test_a_part_of_another_file_is_not_kept(server, tmp_path, left):
    asset = asset_at(server)
    part = tmp_path / f".toy.{asset.sha256[:8]}.part"
    part.write_bytes(left)
    if len(left) < len(DATA):
        with pytest.raises(UserError, match="not the expected file .*was deleted"):
            fetch(asset, tmp_path / "toy")
        assert not part.exists()
    assert fetch(asset, tmp_path / "toy").read_bytes() == DATA


@pytest.mark.parametrize("known_length", [True, False])
def test_another_file_is_refused(server, tmp_path, known_length):
    server.data, server.length = b"<html>sign in</html>" * 100_000, known_length
    words = "offers 2000000 bytes.*expected 300000" if known_length else "not the expected file"
    with pytest.raises(UserError, match=words):
        fetch(asset_at(server), tmp_path / "toy")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_redirection_within_the_host_is_followed(server, tmp_path):
    server.location = "/elsewhere/toy.bin"
    assert fetch(asset_at(server, "/moved"), tmp_path / "toy").read_bytes() == DATA


@pytest.mark.parametrize("location", ["http://localhost:{}/toy.bin", "ftp://127.0.0.1:{}/toy.bin"])
def test_redirection_to_an_unsafe_place_is_refused(server, tmp_path, location):
    server.location = location.format(server.server_port)
    with pytest.raises(UserError, match="sends on to .*expected https"):
        fetch(asset_at(server, "/moved"), tmp_path / "toy")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_http_errors_are_one_line(server, tmp_path, status):
    server.status = status
    with pytest.raises(UserError, match=f"answered {status}"):
        fetch(asset_at(server), tmp_path / "toy")


def test_no_server_is_one_line(tmp_path, server):
    asset = Asset(url="http://127.0.0.1:9/x", bytes=1, sha256="0" * 64, licence="", about="")
    with pytest.raises(UserError, match="cannot reach 127.0.0.1:9"):
        fetch(asset, tmp_path / "toy")


def test_a_dripping_server_is_given_up_and_what_came_is_kept(server, tmp_path):
    server.drip = 0.005
    limits = Limits(silence_s=1.0, grace_s=0.2, slowest_bytes_per_s=1e7)
    with pytest.raises(UserError, match="too slowly.*same command again"):
        fetch(asset_at(server), tmp_path / "toy", limits)
    server.drip = 0.0
    assert fetch(asset_at(server), tmp_path / "toy").read_bytes() == DATA
    assert server.seen[-1] not in (None, "bytes=0-")


def test_a_silent_server_is_a_cut(server, tmp_path):
    server.drip, server.cuts = 0.5, [2, 2]
    with pytest.raises(UserError, match="cut 2 times"):
        fetch(asset_at(server), tmp_path / "toy", Limits(silence_s=0.1, attempts=2))


def test_only_one_process_fetches(server, tmp_path):
    with FileLock(tmp_path / ".toy.lock"):
        with pytest.raises(UserError, match="another process"):
            fetch(asset_at(server), tmp_path / "toy", Limits(lock_s=0.1))
        assert server.seen == []
        waiting = threading.Thread(target=fetch, args=(asset_at(server), tmp_path / "toy"))
        waiting.start()
        time.sleep(0.1)
        (tmp_path / "toy").write_bytes(DATA)  # the other process is done
    waiting.join()
    assert server.seen == []


def test_a_full_disk_is_one_line_and_the_part_goes_on(server, tmp_path):
    with files_of_at_most(50_000), pytest.raises(UserError, match="cannot write .*mend that"):
        fetch(asset_at(server), tmp_path / "toy")
    assert fetch(asset_at(server), tmp_path / "toy").read_bytes() == DATA


def test_a_store_without_rights_is_one_line(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"):
        fetch(asset_at(server), tmp_path / "file" / "toy")


def test_rights_that_are_missing_are_told(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CATALOGUE, "toy", asset_at(server))
    path = asset_path("toy")
    path.parent.mkdir(parents=True)
    with unprivileged(path.parent):
        with pytest.raises(UserError, match="cannot write .*Permission denied"):
            fetch(asset_at(server), path)
        with pytest.raises(UserError, match="cannot be read .*allow it, or set PACOFR_HOME"):
            require_asset("toy")


def test_the_command_fetches_and_status_tells(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CATALOGUE, "toy", asset_at(server))

    def run(*words):
        return cli.main(words), *capsys.readouterr()

    with pytest.raises(UserError, match="flame-assets get toy"):
        require_asset("toy")
    assert "not fetched: flame-assets get toy" in run("status")[1]
    code, said, _ = run("get", "toy")
    assert code == 0
    assert said.splitlines() == [str(asset_path("toy")), "licence: none needed"]
    assert require_asset("toy").read_bytes() == DATA
    assert [status.intact for status in asset_status() if status.name == "toy"] == [True]
    os.truncate(asset_path("toy"), 10)
    assert "DAMAGED: flame-assets get toy" in run("status")[1]
    with pytest.raises(UserError, match="damaged .*flame-assets get toy"):
        require_asset("toy")
    code, _, error = run("get", "nothing")
    assert code == 2
    assert "expected face-mesh" in error


def test_face_mesh_is_the_file_that_lies_in_the_shared_data(shared_data):
    data = (shared_data / "face_mesh" / "face_landmarker.task").read_bytes()
    asset = CATALOGUE["face-mesh"]
    assert len(data) == asset.bytes
    assert hashlib.sha256(data).hexdigest() == asset.sha256
    assert asset.file == "face_landmarker.task"
    assert all(entry.url.startswith("https://") for entry in CATALOGUE.values())


def unpinned(server, kind, **more):
    return Asset(
        url=server.address + "/toy.bin", licence="none needed", about="a toy", kind=kind, **more
    )


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("pack/det.onnx", DATA)
    return stream.getvalue()


def test_without_a_pinned_hash_the_content_is_checked(server, tmp_path):
    server.data, server.cuts = zipped(), [1000]
    asset = unpinned(server, "zip")
    assert fetch(asset, tmp_path / "toy").read_bytes() == server.data
    assert server.seen == [None, "bytes=1000-"]
    server.data = b"<html>sign in</html>"
    with pytest.raises(UserError, match="no readable zip archive.* was deleted"):
        fetch(asset, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_damaged_member_of_an_archive_is_noticed(server, tmp_path):
    data = bytearray(zipped())
    data[5000] ^= 1
    server.data = bytes(data)
    with pytest.raises(UserError, match="damaged member pack/det.onnx"):
        fetch(unpinned(server, "zip"), tmp_path / "toy")


def test_a_checkpoint_is_read_as_data(server, tmp_path):
    stream = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(3)}}, stream)
    server.data = stream.getvalue()
    fetch(unpinned(server, "torch"), tmp_path / "toy")
    server.data = zipped()
    with pytest.raises(UserError, match="no PyTorch checkpoint"):
        fetch(unpinned(server, "torch"), tmp_path / "other")


def test_the_start_of_an_md5_counts(server, tmp_path):
    start = hashlib.md5(DATA).hexdigest()[:6]
    fetch(unpinned(server, "any", md5_start=start), tmp_path / "toy")
    with pytest.raises(UserError, match="not the expected file"):
        fetch(unpinned(server, "any", md5_start="000000"), tmp_path / "other")


def obj(count):
    rows = "".join(f"v {n}.5 0 1\n" for n in range(count))
    return f"# MIT\n{rows}vt 0 0\n{'vt 0 1' * 50_000}\nf 1 2 3\n".encode()


def test_ict_is_fetched_by_its_vertices_and_goes_on(server, tmp_path):
    server.data = obj(5)
    folder = fetch_ict(tmp_path / "ict", url=server.address, vertices=5)
    assert len(list(folder.glob("*.obj"))) == 154
    assert (folder / "identity007.obj").read_bytes() == server.data[: server.data.find(b"vt ")]
    assert (folder / "generic_neutral_mesh.obj").read_bytes() == server.data
    (folder / "jawOpen.obj").unlink()
    seen = len(server.seen)
    fetch_ict(folder, url=server.address, vertices=5)
    assert len(server.seen) == seen + 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (obj(4), "holds 4 vertices, expected 5"),
        (b"<html>busy</html>", "no vertices"),
    ],
)
def test_ict_refuses_other_content(server, tmp_path, data, words):
    server.data = data
    with pytest.raises(UserError, match=words):
        fetch_ict(tmp_path / "ict", url=server.address, vertices=5, limits=Limits(attempts=1))
    assert not list((tmp_path / "ict").glob("*.obj"))
