"""Tars: what tarfile reads is read alike, and what makes tarfile loop or grow is refused."""

import os
import resource
import tarfile
import tracemalloc

import numpy as np
import pytest
from helpers.tars import header, tar_bytes, with_checksum, write_tar

from pacofr.data.curation.sources.tar_reader import MemberKind, TarDamageError, TarReader
from pacofr.errors import UserError

LONG = "folder/" * 30 + "Zoë 2021.05.01.jpg"


def read(path):
    """Names, kinds and data up to the damage, and whether there was any."""
    members, damaged = [], False
    try:
        with TarReader(path) as tar:
            for member in tar:
                is_file = member.kind is MemberKind.FILE
                members.append((member.name, member.kind, tar.read(member, 10**6) * is_file))
    except TarDamageError:
        damaged = True
    return members, damaged


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_finds(tmp_path, form):
    names = ["a.jpg", "b/c.d.png", "x" * 90 + ".jpg", "b" * 90 + "/" + "c" * 90 + ".jpg"]
    names += [] if form == tarfile.USTAR_FORMAT else [LONG, "y" * 300]
    members = [(name, os.urandom(i * 300)) for i, name in enumerate(names)]
    path = write_tar(tmp_path / "a.tar", members, form=form)
    found, damaged = read(path)
    assert not damaged
    assert found == [(name, MemberKind.FILE, data) for name, data in members]
    with tarfile.open(path) as tar:
        assert [member.name for member in tar] == names


def test_links_folders_and_devices(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("hard.jpg", tarfile.LNKTYPE),
            ("soft.jpg", tarfile.SYMTYPE),
            ("folder", tarfile.DIRTYPE),
            ("fifo", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    (hard, soft, folder, fifo), damaged = read(path)
    assert not damaged
    assert (hard[1], soft[1]) == (MemberKind.LINK, MemberKind.LINK)
    assert (folder[1], fifo[1]) == (MemberKind.FOLDER, MemberKind.SPECIAL)


def test_tars_behind_one_another_are_read(tmp_path):
    one, two = tar_bytes([("1.jpg", b"one")]), tar_bytes([("2.jpg", b"two")])
    (tmp_path / "a.tar").write_bytes(one + two)
    members, damaged = read(tmp_path / "a.tar")
    assert [member[0] for member in members] == ["1.jpg", "2.jpg"]
    assert not damaged


def test_names_that_are_no_utf8(tmp_path):
    block = bytearray(header("aaaa.jpg", 0))
    block[:2] = b"n\xff"
    (tmp_path / "a.tar").write_bytes(with_checksum(block) + bytes(1024))
    members, _ = read(tmp_path / "a.tar")
    assert os.fsencode(members[0][0]) == b"n\xffaa.jpg"


def test_what_stands_before_a_cut_is_used(tmp_path):
    data = tar_bytes([(f"{i}.jpg", bytes(3000)) for i in range(5)])
    (tmp_path / "a.tar").write_bytes(data[:9000])
    members, damaged = read(tmp_path / "a.tar")
    assert len(members) == 2
    assert damaged


GOOD = header("good.jpg", 3) + b"yes".ljust(512, b"\0")
HOSTILE = {
    "negative size": header("loop.jpg", -512) + bytes(512),
    "size that points back": header("loop.jpg", -1024) + bytes(1024),
    "huge size": header("huge.jpg", 40 * 2**30),
    "size of 81 bits": header("huge.jpg", 2**80),
    "huge pax": header("x", 40 * 2**30, b"x"),
    "huge long name": header("././@LongLink", 40 * 2**30, b"L"),
    "long name of 1 MB": header("././@LongLink", 10**6, b"L") + bytes(10**6 + 448),
    "pax length": header("x", 20, b"x") + b"99999999 path=a.jpg\n".ljust(512, b"\0"),
    "pax length 0": header("x", 20, b"x") + b"0 path=a.jpg\n".ljust(512, b"\0"),
    "pax length no number": header("x", 20, b"x") + b"xx path=a.jpg\n".ljust(512, b"\0"),
    "pax size negative": header("x", 20, b"x") + b"11 size=-1\n".ljust(512, b"\0"),
    "pax size huge": header("x", 60, b"x") + b"30 size=99999999999999999999\n".ljust(512, b"\0"),
    "checksum": header("a.jpg", 0)[:-1] + b"x",
    "text": b"no tar at all " * 100,
    "names without a member": (header("././@LongLink", 5, b"L") + b"name".ljust(512, b"\0")) * 2000,
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_end_at_once_and_cost_no_memory(tmp_path, kind):
    data = HOSTILE[kind]
    (tmp_path / "a.tar").write_bytes((GOOD if data else b"") + data + bytes(1024 if data else 0))
    tracemalloc.start()
    members, damaged = read(tmp_path / "a.tar")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert damaged
    assert members == ([("good.jpg", MemberKind.FILE, b"yes")] if data else [])
    assert peak < 4 * 2**20


def test_sparse_members_are_passed_over(tmp_path):
    block = bytearray(header("sparse.jpg", 1000, b"S"))
    block[482:483] = b"\1"  # one more block of the sparse map follows
    data = with_checksum(block) + bytes(512) + bytes(1024) + GOOD
    pax = b"22 GNU.sparse.major=1\n"
    data += header("x", len(pax), b"x") + pax.ljust(512, b"\0") + header("also.jpg", 0)
    (tmp_path / "a.tar").write_bytes(data + bytes(1024))
    members, damaged = read(tmp_path / "a.tar")
    kinds = [(name, kind) for name, kind, _ in members]
    assert not damaged
    assert kinds == [
        ("sparse.jpg", MemberKind.SPECIAL),
        ("good.jpg", MemberKind.FILE),
        ("also.jpg", MemberKind.SPECIAL),
    ]


def test_no_regular_file_is_no_tar(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(UserError, match="FIFO"):
        TarReader(tmp_path / "a.tar")


@pytest.mark.slow
def test_mutated_tars_end_with_the_members_before_the_damage(tmp_path):
    """2,000 files with changed header bytes: no exception but the reader's, no loop, no growth."""
    whole = tar_bytes([(f"{i}.jpg", os.urandom(700)) for i in range(6)] + [(LONG, b"x")])
    random = np.random.default_rng(0)
    headers = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
    path = tmp_path / "a.tar"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(random.integers(1, 6)):
            data[random.choice(headers) + random.integers(512)] = random.integers(256)
        if random.random() < 0.7:  # a checksum that fits lets the change through
            for at in headers:
                data[at : at + 512] = with_checksum(data[at : at + 512])
        path.write_bytes(data[: random.integers(1, len(data))] if random.random() < 0.3 else data)
        members, _ = read(path)
        assert len(members) <= len(headers)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_zeros_end_a_tar_where_they_do_not_end(tmp_path):
    path = tmp_path / "a.tar"
    whole = tar_bytes([("a.jpg", b"1")])
    for zeros, count in ((60 << 20, 2), (65 << 20, 1)):
        with path.open("wb") as file:
            file.write(whole)
            file.seek(zeros, os.SEEK_CUR)
            file.write(whole)
        members, damaged = read(path)
        assert (len(members), damaged) == (count, count == 1)
