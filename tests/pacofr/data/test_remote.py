"""Sources and shards at URLs: a web server that fails in many ways, fsspec's memory, pipes."""

import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import tyro
from helpers.crops import write_shards
from helpers.tars import tar_bytes, write_tar
from helpers.web_server import web_server

from pacofr import cli
from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.curate import curate
from pacofr.data.curation.pool import WorkersStopped
from pacofr.data.curation.sources.units import count_photos, find_units, read_photos
from pacofr.data.curation.stats import Counter, Reason
from pacofr.data.remote import stores, web
from pacofr.data.remote.location import Url, expand_ranges, parse_location
from pacofr.data.repack import repack
from pacofr.data.repack_config import RepackConfig
from pacofr.data.shards import ShardDataset
from pacofr.errors import UserError

PHOTOS = [(f"{n:05d}.jpg", bytes([n]) * 40_000) for n in range(5)]
TAR = tar_bytes(PHOTOS)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(stores, "PAUSE_SECONDS", 0.0)
    with web_server({"/set/00000.tar": TAR, "/set/00001.tar": TAR, "/set/a.txt": b"text"}) as each:
        yield each


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def read(unit, **options):
    photos = read_photos(unit, None, Counter(), with_ids=False, **options)
    return [(f"{photo.key}.jpg", photo.data) for photo in photos]


def test_paths_urls_and_pipes_are_told_apart(tmp_path):
    assert parse_location("a/b") == parse_location("file://a/b") == tmp_path.__class__("a/b")
    assert parse_location("file://localhost/a%20b") == tmp_path.__class__("/a b")
    assert parse_location("file:///a%20b") == tmp_path.__class__("/a b")
    assert parse_location("s3://b/c.tar") == Url("s3://b/c.tar")
    assert parse_location("pipe:cat x").suffix == ".tar"
    assert parse_location("http://[::1]:80/c.tar") == Url("http://[::1]:80/c.tar")
    signed = Url("https://me:secret@host/d/c.tar?signature=1")
    assert (str(signed), signed.name) == ("https://host/d/c.tar", "c.tar")
    assert signed.with_suffix(".parquet").text.endswith("/d/c.parquet?signature=1")
    for wrong in (
        "zip://a::s3://b/c.zip",
        "simplecache::s3://b/c.tar",
        "pipe: ",
        "http://[::1/a",
        "http://[::1]/a::b",
    ):
        with pytest.raises(UserError, match="expected"):
            parse_location(wrong)


def test_ranges_keep_their_width():
    texts = [url.text for url in expand_ranges(Url("s3://b/{8..11}/{000..001}.tar"))]
    assert texts[:3] == ["s3://b/8/000.tar", "s3://b/8/001.tar", "s3://b/9/000.tar"]
    assert len(texts) == 8
    assert texts[-1] == "s3://b/11/001.tar"
    for wrong in ("s3://b/{5..4}.tar", "s3://b/{0..9999999}.tar"):
        with pytest.raises(UserError, match="expected ranges"):
            expand_ranges(Url(wrong))


@pytest.mark.parametrize("ranges", [True, False])
def test_units_of_a_server_are_those_of_the_same_folder(server, tmp_path, ranges):
    server.ranges = ranges
    for name in ("00000", "00001"):
        write_tar(tmp_path / f"set/{name}.tar", PHOTOS)
    here = find_units((tmp_path / "set",)).units
    for source in ("/set/", "/set/{00000..00001}.tar", "/set/*.tar"):
        there = find_units((Url(server.url + source),)).units
        assert [unit.name for unit in there] == [unit.name for unit in here]
        assert [unit.digest for unit in there] == [unit.digest for unit in here]
    assert read(there[1], copies=tmp_path) == PHOTOS
    assert count_photos(there[0]) == len(PHOTOS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]  # no copy is left


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_stops_in_the_middle_is_asked_again(server, tmp_path, ranges):
    server.ranges, server.cuts, server.statuses = ranges, [100_000, 1000], [503]
    (unit,) = find_units((Url(f"{server.url}/set/00000.tar"),)).units
    assert read(unit, copies=tmp_path) == PHOTOS


def test_a_server_that_always_stops_is_one_line(server, tmp_path):
    (unit,) = find_units((Url(f"{server.url}/set/00000.tar"),)).units
    server.cuts = [1000] * 20
    with pytest.raises(UserError, match=r"00000\.tar cannot be read .*give the same command"):
        read(unit, copies=tmp_path)
    assert len(server.cuts) == 20 - stores.ATTEMPTS
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_or_forbidden_is_one_line(server, tmp_path):
    for source in ("/set/00002.tar", "/set/{00000..00003}.tar"):
        with pytest.raises(UserError, match=r"0000[23]\.tar is not there"):
            find_units((Url(server.url + source),))
    with pytest.raises(UserError, match=r"none/ is not there|none/ holds no image"):
        find_units((Url(f"{server.url}/none/"),))
    with pytest.raises(UserError, match=r"cannot be (read|opened).*check the URL"):
        find_units((Url("http://127.0.0.1:99999/a.tar"),))
    (unit,) = find_units((Url(f"{server.url}/set/00000.tar"),)).units
    server.statuses = [403]
    with pytest.raises(UserError, match="check the URL and your rights"):
        read(unit)
    del server.files["/set/00000.tar"]  # between listing and reading
    with pytest.raises(UserError, match=r"00000\.tar is not there"):
        read(unit)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"206 P\r\nContent-Range: bytes 7-16/200704\r\n", "it sent the part 'bytes 7-16/"),
        (b"206 P\r\nContent-Range: bytes 0-\r\n", "it sends more than 1000 bytes"),
        (b"302 Found\r\n", "status 302 without content"),
        (b"302 Found\r\nLocation: file:///etc/passwd\r\n", "redirects to file:.* expected https"),
        (b"302 Found\r\nLocation: http://10.0.0.1/a\r\n", "redirects to http:.* expected https"),
        (b"200 OK\r\nContent-Length: -5\r\n", "Invalid character in Content-Length"),
    ],
)
def test_answers_that_were_not_asked_for_are_one_line(server, answer, message):
    server.raw["/set/a.txt"] = b"HTTP/1.1 " + answer + b"\r\n" + bytes(2000)
    with pytest.raises(UserError, match=message):
        stores.read_range(Url(f"{server.url}/set/a.txt"), 0, 1000)
    if b"Location" in answer:
        assert len(server.requests) == 1  # again would be in vain
        with pytest.raises(UserError, match=message):
            stores.look_up([Url(f"{server.url}/set/a.txt")])


def test_a_server_without_parts_gives_no_wrong_ones(server):
    server.ranges = False
    with pytest.raises(UserError, match="sent the whole file where the bytes 5-9"):
        stores.read_range(Url(f"{server.url}/set/00000.tar"), 5, 10)


def test_pages_of_links_have_bounds(server, monkeypatch):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<a href='x/'>x</a> "
    monkeypatch.setattr(stores, "LISTING_DEPTH", 3)
    server.raw.update({"/d/" + "x/" * depth: page for depth in range(5)})
    stores.list_files(Url(f"{server.url}/d/"))
    assert max(path.count("x") for _, path, _ in server.requests) < 4
    monkeypatch.setattr(web, "LISTING_BYTES", 10)
    with pytest.raises(UserError, match="it sends more than 10 bytes"):
        stores.list_files(Url(f"{server.url}/d/"))
    monkeypatch.setattr(stores, "LISTING_SECONDS", 0.05)
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    with web_server({}) as slow:
        slow.delay = 0.3
        with pytest.raises(UserError, match="was not listed in 0 s"):
            stores.list_files(Url(f"{slow.url}/d/"))


def test_a_server_that_says_nothing_is_told_from_one_that_has_nothing(server, monkeypatch):
    monkeypatch.setattr(web, "READ_SECONDS", 0.1)
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    server.delay = 0.4
    with pytest.raises(UserError, match="cannot be read .*no answer"):
        find_units((Url(f"{server.url}/set/00000.tar"),))


def test_a_server_that_is_not_up_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stores, "PAUSE_SECONDS", 0.0)
    assert cli.main(["curate", "http://127.0.0.1:9/a.tar", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    last = error.splitlines()[-1]
    assert last.startswith("error: http://127.0.0.1:9/a.tar cannot be read")
    assert "Traceback" not in error


def test_a_store_without_its_package_names_it(tmp_path, capsys):
    assert cli.main(["curate", "gs://bucket/a.tar", "--out", str(tmp_path / "out")]) == 2
    assert "gcsfs" in capsys.readouterr().err
    assert cli.main(["curate", "what://bucket/a.tar", "--out", str(tmp_path / "out")]) == 2
    assert "what" in capsys.readouterr().err


def test_loose_photos_of_a_store(memory, tmp_path):
    memory.pipe({f"/photos/sub/{name}": data for name, data in PHOTOS})
    memory.pipe("/photos/.hidden.jpg", b"x")
    (unit,) = find_units((Url("memory://photos"),)).units
    assert unit.name == "photos/000000"
    assert read(unit) == [(f"sub/{name}.jpg", data) for name, data in PHOTOS]
    memory.rm("/photos/sub/00003.jpg")
    problems = [photo.problem for photo in read_photos(unit, None, Counter(), with_ids=False)]
    assert problems == [None, None, None, Reason.UNREADABLE, None]


def test_a_pipe_is_a_tar(tmp_path):
    write_tar(tmp_path / "a b/000.tar", PHOTOS)
    pipe = parse_location(f"pipe:cat '{tmp_path}/a b/{{000..000}}.tar'")
    (unit,) = find_units((pipe,)).units
    assert read(unit) == PHOTOS


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"{sys.executable} -c \"import sys; sys.exit('no such bucket')\"", "1: no such bucket"),
        ("no-such-command x", "cannot be run"),
        ("cat 'x", "No closing quotation"),
        ("cat a\0b", "null byte"),
        ("cat x; echo $HOME", "exit code 1"),  # no shell: four file names
    ],
)
def test_a_pipe_that_fails_is_one_line(command, message):
    (unit,) = find_units((Url(f"pipe:{command}"),)).units
    with pytest.raises(UserError, match=message):
        read(unit)


def test_a_pipe_that_is_left_ends_with_all_that_it_started(tmp_path):
    started = tmp_path / "started"

    def stop_once_started():
        if started.exists() and started.read_text().strip():
            raise WorkersStopped

    (unit,) = find_units(
        (Url(f"pipe:sh -c 'sh -c \"echo \\$\\$ > {started}; sleep 60\" | cat'"),)
    ).units
    with pytest.raises(WorkersStopped):
        list(read_photos(unit, None, Counter(), with_ids=False, check_stop=stop_once_started))
    process = int(started.read_text())
    for _ in range(100):
        stat = Path(f"/proc/{process}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("it still runs")


def test_a_curation_of_remote_tars_goes_on_where_it_stopped(server, tmp_path):
    """Nothing is kept of such photos, so that the markers alone tell what was done."""
    source = Url(f"{server.url}/set/{{00000..00001}}.tar")
    config = CurateConfig(sources=(source,), out=tmp_path / "out", sample=7)

    def fetched():
        with pytest.raises(UserError, match=r"no face was kept of 7 photos \(7 unreadable\)"):
            curate(config, lambda jobs: ThreadPoolExecutor(1))  # no start of an interpreter
        gets = {path for _, path, asked in server.requests if asked}
        server.requests.clear()
        return gets

    assert fetched() == {"/set/00000.tar", "/set/00001.tar"}
    assert fetched() == set()
    (tmp_path / "out/.parts/000001.json").unlink()
    assert fetched() == {"/set/00001.tar"}
    assert not list(tmp_path.rglob(".fetched.*"))


def shard_files(folder):
    return {f"/shards/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_shards_at_a_url_are_the_same_crops(tmp_path):
    folder = write_shards(tmp_path / "shards")
    here = ShardDataset(folder)
    with web_server(shard_files(folder)) as server:
        url = Url(f"{server.url}/shards")
        with pytest.raises(UserError, match=r"expected --data\.cache"):
            ShardDataset(url)
        there = ShardDataset(url, tmp_path / "cache")
        assert there.index.fingerprint == here.index.fingerprint
        assert all(np.array_equal(there[n], here[n]) for n in (3, 0, 11))
        gets = [path for method, path, _ in server.requests if path.endswith(".tar")]
        assert 1 <= len(gets) <= 2  # the whole shard once, for all crops
        out = repack(RepackConfig(shards=url, out=tmp_path / "out")).shards
        assert out[0].crops == 12
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out", "shards"]
    assert np.array_equal(ShardDataset(tmp_path / "out")[5], here[5])


def test_without_room_remote_crops_are_read_one_by_one(tmp_path, monkeypatch, caplog):
    folder = write_shards(tmp_path / "shards")
    crops = ShardDataset(folder)
    with web_server(shard_files(folder)) as server:
        there = ShardDataset(f"{server.url}/shards", tmp_path / "cache")
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
        assert np.array_equal(there[7], crops[7])
        assert "is full" in caplog.text


def test_remote_shards_that_changed_or_vanished_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "PAUSE_SECONDS", 0.0)
    folder = write_shards(tmp_path / "shards")
    with web_server(shard_files(folder)) as server:
        url, cache = Url(f"{server.url}/shards"), tmp_path / "cache"
        there = ShardDataset(url, cache)
        shard = server.files.pop("/shards/shard-000000.tar")
        with pytest.raises(UserError, match=r"shard-000000\.tar is not there"):
            there.jpeg(0)
        server.files["/shards/shard-000000.tar"] = shard + b"x"
        with pytest.raises(UserError, match="has .* bytes: expected at most"):
            there.jpeg(0)
        server.files["/shards/shard-000000.tar"] = shard[:-1]
        with pytest.raises(UserError, match="the index says"):
            there.jpeg(0)
        about = json.loads(server.files["/shards/index.json"])
        about["crops"] = 13
        about["shards"][0]["crops"] = 13
        server.files["/shards/index.json"] = json.dumps(about).encode()
        with pytest.raises(UserError, match="do not belong together"):
            ShardDataset(url, cache)
        del server.files["/shards/index.json"]
        with pytest.raises(UserError, match="holds no finished shards"):
            ShardDataset(url, cache)


def test_flags_take_urls(tmp_path):
    flags = ["--sources", str(tmp_path), "s3://b/c.tar", "--out", str(tmp_path / "out")]
    config = tyro.cli(CurateConfig, args=flags)
    assert config.sources == (tmp_path, Url("s3://b/c.tar"))
    config = tyro.cli(RepackConfig, args=["s3://b/shards", "-o", str(tmp_path / "out")])
    assert config.shards == Url("s3://b/shards")
