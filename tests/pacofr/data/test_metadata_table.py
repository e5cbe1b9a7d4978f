"""Metadata of photos in parquet tables as img2dataset writes them, whole, odd and forged."""

import json
import os
import sys

import pyarrow as pa
import pytest
from helpers.tars import write_tar
from helpers.web_server import web_server
from pyarrow import parquet

from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.curate import _unit_jobs
from pacofr.data.curation.sources import metadata_table
from pacofr.data.curation.sources.conditions import parse_condition
from pacofr.data.curation.sources.metadata_table import MetadataTable
from pacofr.data.curation.sources.parquet_pages import PageDamageError, unpacked_pages
from pacofr.data.curation.sources.units import find_units, read_photos
from pacofr.data.curation.stats import Counter
from pacofr.data.remote.location import Url
from pacofr.errors import UserError, error_line

KEYS = [f"{number:09d}" for number in range(6)]
TABLE = {
    "key": KEYS,
    "url": [f"https://host/{key}.jpg" for key in KEYS],
    "caption": ["a woman", "two men", "a woman", None, "a dog", "x" * 100_000],
    "NSFW": ["UNLIKELY", "UNSURE", "NSFW", "UNLIKELY", None, "UNLIKELY"],
    "punsafe": [0.01, 0.2, 0.99, 0.03, 0.0, float("nan")],
    "face_count": pa.array([1, 2, 1, 1, 0, 3], pa.int8()),
    "exif": [{"Model": "x"}] * 6,
}


@pytest.fixture
def tar(tmp_path):
    """Photos with a JSON beside each that knows no score, but for the last, which has none."""
    members = []
    for key in KEYS:
        members.append((f"{key}.jpg", key.encode()))
        if key != KEYS[-1]:
            about = {"key": key, "url": f"https://host/{key}.jpg", "width": 512}
            members.append((f"{key}.json", json.dumps(about).encode()))
    return write_tar(tmp_path / "set/00000.tar", members)


def write_table(tar, columns, **options):
    path = tar.with_suffix(".parquet")
    parquet.write_table(pa.table(columns), path, row_group_size=4, **options)
    return path


def kept(unit, *conditions):
    parsed = [parse_condition(text) for text in conditions]
    photos = read_photos(unit, None, Counter(), with_ids=False, conditions=parsed)
    return [int(photo.key) for photo in photos if photo.problem is None]


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        (["NSFW=UNLIKELY,UNSURE"], [0, 1, 3, 5]),
        (["punsafe<0.1"], [0, 3, 4]),
        (["face_count=1", "punsafe<0.1"], [0, 3]),
        (["face_count>=1", "NSFW!=NSFW"], [0, 1, 3, 5]),
        (["caption=a woman"], [0, 2]),
        (["width>=512", "face_count>0"], [0, 1, 2, 3]),  # of the JSON, of the table
        (["nothing>0"], []),
    ],
)
@pytest.mark.parametrize("compression", ["zstd", "snappy"])
def test_fields_that_the_json_lacks_come_from_the_table(tar, conditions, numbers, compression):
    write_table(tar, TABLE, compression=compression)
    found = find_units((tar.parent,))
    assert found.left_out.counts == {}
    assert kept(found.units[0], *conditions) == numbers
    assert kept(find_units((tar,)).units[0], *conditions) == numbers


def test_rows_are_found_by_url_where_there_is_no_key(tar):
    write_table(tar, {name: values for name, values in TABLE.items() if name != "key"})
    (unit,) = find_units((tar,)).units
    assert kept(unit, "punsafe<0.5") == [0, 1, 3, 4]  # the last has no JSON that tells its URL


def test_sample_ids_come_from_the_table_too(tar):
    write_table(tar, {"key": KEYS, "SAMPLE_ID": [10, 11, 12, 13, 14, 15]})
    (unit,) = find_units((tar,)).units
    photos = read_photos(unit, None, Counter(), with_ids=True)
    assert [photo.sample_id for photo in photos] == [10, 11, 12, 13, 14, 15]


def test_a_remote_tar_has_its_remote_table(tar):
    table = write_table(tar, TABLE)
    files = {"/00000.tar": tar.read_bytes(), "/00000.parquet": table.read_bytes()}
    with web_server(files) as server:
        for source in ("/00000.tar", "/"):
            (unit,) = find_units((Url(server.url + source),)).units
            assert kept(unit, "punsafe<0.1") == [0, 3, 4]


def test_another_table_is_another_source(tar, tmp_path):
    def digest(*where):
        config = CurateConfig(sources=(tar,), out=tmp_path / "out", where=where)
        units = find_units(config.sources).units
        return _unit_jobs(units, [None], config)[0].digest

    before, asked = digest(), digest("punsafe<0.1")
    write_table(tar, TABLE)
    assert digest() == before  # nothing reads it
    assert digest("punsafe<0.1") != asked


def test_only_the_columns_asked_for_are_read(tar, monkeypatch):
    path = write_table(tar, TABLE)
    seen = []
    real = parquet.ParquetFile.iter_batches

    def watched(self, *arguments, columns, **options):
        seen.append(columns)
        return real(self, *arguments, columns=columns, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", watched)
    table = MetadataTable(path, "table", ["NSFW", "nothing"])
    assert seen == [["key", "NSFW"]] * 2  # a row group at a time
    assert table.row(KEYS[2], None) == {"NSFW": "NSFW"}
    assert table.row("none", None) == {}


def refuse(tar, match, *conditions):
    (unit,) = find_units((tar,)).units
    with pytest.raises(UserError, match=match):
        kept(unit, *(conditions or ["punsafe<0.1"]))


def test_tables_of_another_kind_are_one_line(tar, monkeypatch):
    path = write_table(tar, {"id": KEYS, "punsafe": [0.0] * 6})
    refuse(tar, "expected a column `key` or `url`.*got id, punsafe")
    write_table(tar, {"key": [1, 2, 3, 4, 5, 6], "punsafe": [0.0] * 6})
    refuse(tar, "column key: expected text, got int64")
    write_table(tar, {"key": KEYS, "punsafe": [[0.0]] * 6})
    refuse(tar, r"column punsafe: expected text or numbers, got list")
    write_table(tar, TABLE)
    monkeypatch.setattr(metadata_table, "METADATA_ROWS", 5)
    refuse(tar, "has 6 rows of 7 columns: expected at most 5")
    monkeypatch.setattr(metadata_table, "METADATA_ROWS", 6)
    monkeypatch.setattr(metadata_table, "PARQUET_GROUP_BYTES", 10)
    refuse(tar, "expected at most 10 bytes in the columns key, punsafe of a row group")
    monkeypatch.setattr(metadata_table, "PARQUET_BYTES", 100)
    refuse(tar, "has .* bytes")
    monkeypatch.undo()
    monkeypatch.setattr(metadata_table, "PARQUET_UNPACKED_BYTES", 100)
    refuse(tar, "of a row group, 100 in all")
    monkeypatch.undo()
    monkeypatch.setattr(metadata_table, "METADATA_CHARACTERS", 50)
    refuse(tar, "at most 50 characters in the columns key, punsafe")
    monkeypatch.undo()
    path.unlink()
    os.mkfifo(path)
    assert kept(find_units((tar,)).units[0], "width>1") == [0, 1, 2, 3, 4]


def test_cut_and_forged_tables_are_one_line(tar):
    path = write_table(tar, TABLE, compression="zstd")
    whole = path.read_bytes()
    damaged = [b"", b"PAR1", whole[:-1], whole[: len(whole) // 2], b"no table" * 100]
    damaged.append(whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:])  # a footer of 2 GB
    damaged += [whole[:at] + bytes(64) + whole[at + 64 :] for at in range(4, len(whole) - 80, 97)]
    lines = []
    for data in damaged:
        path.write_bytes(data)
        (unit,) = find_units((tar,)).units
        try:
            kept(unit, "NSFW=UNLIKELY")
        except Exception as error:
            lines.append(error_line(error))
    assert len(lines) > len(damaged) // 2  # pages carry no checksum: some damage is another text
    assert all(line and "is no whole parquet file" in line for line in lines)


def test_texts_that_are_no_entries_of_their_dictionary_are_one_line(tar):
    """The last bytes of a page of five texts, six times the index of one in 3 bits."""
    path = tar.with_suffix(".parquet")
    table = pa.table({"key": KEYS, "NSFW": list("abcdea")})
    parquet.write_table(table, path, compression="none")
    whole = path.read_bytes()
    column = parquet.read_metadata(path).row_group(0).column(1)
    end = column.dictionary_page_offset + column.total_compressed_size
    path.write_bytes(whole[: end - 2] + b"\xff\xff" + whole[end:])
    refuse(tar, "is no whole parquet file.*indices invalid", "NSFW=a")


def test_columns_of_one_name_are_named(tar):
    path = tar.with_suffix(".parquet")
    parquet.write_table(pa.table([KEYS, KEYS, KEYS], ["key", "NSFW", "NSFW"]), path)
    refuse(tar, "expected one column NSFW, got several", "NSFW=a")


def test_a_table_without_rows_says_nothing(tar):
    write_table(tar, {"key": pa.array([], pa.string())})
    assert kept(find_units((tar,)).units[0], "NSFW=a") == []


@pytest.mark.parametrize(
    ("footer", "message"),
    [
        (b"\x15\x02\x19\xfc\x80\x87\xa7\x0e", "Exceeded size limit"),  # 30 million columns
        (bytes(9 << 20), "its footer has 9437184 bytes, expected at most"),
        (b"\x1c" * 100_000, "depth"),
    ],
)
def test_footers_that_would_take_gigabytes_are_one_line(tar, footer, message):
    length = len(footer).to_bytes(4, "little")
    tar.with_suffix(".parquet").write_bytes(b"PAR1" + footer + length + b"PAR1")
    refuse(tar, f"is no whole parquet file .*{message}")


def test_pages_unpack_to_what_pyarrow_says(tar):
    """The footer of an honest file has the same totals, page headers included."""
    for compression in ("zstd", "none"):
        path = write_table(tar, TABLE, compression=compression, data_page_size=64)
        for group in (parquet.read_metadata(path).row_group(n) for n in range(2)):
            for column in (group.column(n) for n in range(group.num_columns)):
                begin = column.dictionary_page_offset or column.data_page_offset
                with open(path, "rb") as stream:
                    packed = column.total_compressed_size
                    pages, size = unpacked_pages(stream, begin, packed, 100)
                    headers = column.total_uncompressed_size - size
                    assert 0 < headers < 1000
                    with pytest.raises(PageDamageError):
                        unpacked_pages(stream, begin + 1, packed, 100)
                    with pytest.raises(PageDamageError, match="too many pages"):
                        unpacked_pages(stream, begin, packed, pages - 1)


def test_a_page_that_unpacks_to_more_than_its_footer_says_is_not_read(tar, monkeypatch):
    monkeypatch.setattr(metadata_table, "PARQUET_GROUP_BYTES", 1 << 20)
    columns = {"key": ["a"], "caption": ["x" * 3_000_000]}
    path = write_table(tar, columns, compression="zstd", write_statistics=False)
    told = parquet.read_metadata(path).row_group(0).column(1).total_uncompressed_size
    forged = path.read_bytes().replace(varint(told), varint(2_000_000)[:-1] + b"\0")
    path.write_bytes(forged)
    assert parquet.read_metadata(path).row_group(0).column(1).total_uncompressed_size < told
    refuse(tar, r"expected at most .* of a row group, .* got 3\d{6}", "caption=x")


def varint(number: int) -> bytes:
    """A positive number in Thrift's compact protocol."""
    zigzag, out = 2 * number, b""
    while zigzag > 127:
        out, zigzag = out + bytes([zigzag & 127 | 128]), zigzag >> 7
    return out + bytes([zigzag])


def test_without_pyarrow_one_line_says_what_to_install(tar, monkeypatch):
    write_table(tar, TABLE)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refuse(tar, r'pyarrow.* is not installed; run: pip install "pacofr\[remote\]"')
    (unit,) = find_units((tar,)).units
    with pytest.raises(UserError, match="pyarrow"):  # the last photo has no JSON
        kept(unit, "width>1")


def test_where_every_json_has_the_fields_no_table_is_read(tmp_path, monkeypatch):
    members = [("0.jpg", b"photo"), ("0.json", b'{"NSFW": null}')]
    tar = write_tar(tmp_path / "set/00000.tar", members)
    tar.with_suffix(".parquet").write_bytes(b"damaged")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert kept(find_units((tar,)).units[0], "NSFW=UNLIKELY") == []
