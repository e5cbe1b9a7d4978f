"""Metadata of photos in a parquet table beside their tar: captions, scores, numbers of faces.

img2dataset writes 00000.parquet beside 00000.tar, a row per photo with its `key` and `url`; tools
that score photos add columns. pyarrow reads it, in batches and only the columns asked for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pacofr.data.curation.sources.parquet_pages import check_footer_size, unpacked_pages
from pacofr.data.remote.local_copy import local_copy
from pacofr.data.remote.location import Location
from pacofr.data.remote.stores import INSTALL
from pacofr.errors import UserError
from pacofr.utils.bounded import open_regular
from pacofr.utils.budgets import (
    METADATA_CHARACTERS,
    METADATA_COLUMNS,
    METADATA_ROWS,
    PARQUET_BYTES,
    PARQUET_FOOTER_BYTES,
    PARQUET_GROUP_BYTES,
    PARQUET_LIST,
    PARQUET_PAGES,
    PARQUET_UNPACKED_BYTES,
)

TABLE_SUFFIX = ".parquet"
BATCH_ROWS = 4096
TEXT = 256
"""Characters of a text that are kept: conditions compare with at most 200."""
KEY_TEXT = 8192
"""Characters of a key or URL that are kept."""
KEYS = ("key", "url")
"""Columns that tell a row's photo, the first that there is."""


class MetadataTable:
    """Rows of a table by their photo.

    Args:
        path: the file.
        name: as errors call it.
        fields: columns to read; those that are not there give no values.

    Raises:
        UserError: pyarrow is missing; the file is no parquet file, is damaged, exceeds a budget, or
            tells no photos.
    """

    def __init__(self, path: Path, name: str, fields: Sequence[str]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise UserError(
                f"{name} holds the metadata that the conditions ask for, and pyarrow, which reads"
                f" it, is not installed; run: {INSTALL}"
            ) from error
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._name, self._characters = name, 0
        try:
            with open_regular(path, PARQUET_BYTES) as stream:
                check_footer_size(stream, PARQUET_FOOTER_BYTES)
                limits = {
                    "thrift_string_size_limit": PARQUET_FOOTER_BYTES,
                    "thrift_container_size_limit": PARQUET_LIST,
                    "arrow_extensions_enabled": False,
                }
                about = parquet.ParquetFile(stream, **limits)
                self.by, columns = _columns(about.metadata, about.schema_arrow, name, fields)
                _check_sizes(stream, about.metadata, name, columns)
                texts = [column for column in columns if _is_text(about.schema_arrow, column)]
                file = parquet.ParquetFile(stream, read_dictionary=texts, **limits)
                for group in range(about.metadata.num_row_groups):
                    self._add_group(file, group, columns)
        except (pyarrow.ArrowException, OSError, OverflowError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), "")
            raise UserError(
                f"{name} is no whole parquet file ({reason[:200]}); fetch or write it again, or"
                " remove it"
            ) from error

    def row(self, key: str, url: str | None) -> Mapping[str, Any]:
        """What the table says of a photo; empty where it has no row for it.

        Args:
            key: the photo's name in its tar, without suffix.
            url: where it came from, if known.
        """
        wanted = key if self.by == "key" else url
        return {} if wanted is None else self._rows.get(wanted, {})

    def _add_group(self, file: Any, group: int, columns: list[str]) -> None:
        """Add a row group's rows; a batch never spans several, so that one is held at a time."""
        options = {"row_groups": [group], "columns": columns, "use_threads": False}
        for batch in file.iter_batches(BATCH_ROWS, **options):
            batch.validate(full=True)  # pyarrow takes indices into dictionaries as they stand
            self._add(batch)

    def _add(self, batch: Any) -> None:
        names = [name for name in batch.schema.names if name != self.by]
        keys = _values(batch.column(self.by), KEY_TEXT)
        columns = [_values(batch.column(name), TEXT) for name in names]
        for key, *values in zip(keys, *columns, strict=True):
            if key is not None:
                row = {n: v for n, v in zip(names, values, strict=True) if v is not None}
                if self._rows.setdefault(key, row) is row:
                    texts = (text for text in (key, *values) if isinstance(text, str))
                    self._characters += sum(map(len, texts))
        if self._characters > METADATA_CHARACTERS:
            raise UserError(
                f"{self._name}: expected at most {METADATA_CHARACTERS} characters in the columns"
                f" {', '.join([self.by, *names])}, the photos of one tar"
            )


class TableBesideTar:
    """A tar's table, fetched and read when a photo's own JSON first lacks a field.

    Args:
        table: where it lies; None where there is none.
        copies: folder for the copy of a remote one.
        fields: that may be asked for.
    """

    def __init__(self, table: Location | None, copies: Path | None, fields: Sequence[str]) -> None:
        self._location, self._copies, self._fields = table, copies, fields
        self._table: MetadataTable | None = None

    def completed(self, about: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """What a photo's JSON says, with the table's values for what it lacks."""
        if self._location is None or all(field in about for field in self._fields):
            return about
        if self._table is None:
            name = str(self._location)
            with local_copy(self._location, self._copies, PARQUET_BYTES) as path:
                self._table = MetadataTable(path, name, self._fields)
        url = about.get("url")
        return {**self._table.row(key, url if isinstance(url, str) else None), **about}


def _values(column: Any, longest: int) -> list[Any]:
    """A column's values; texts cut to `longest` characters, a repeated one held once."""
    from pyarrow import compute, types

    if not types.is_dictionary(column.type):
        return column.to_pylist()
    cut = compute.SliceOptions(0, longest)
    texts = compute.call_function("utf8_slice_codeunits", [column.dictionary], cut).to_pylist()
    return [None if index is None else texts[index] for index in column.indices.to_pylist()]


def _is_text(schema: Any, column: str) -> bool:
    from pyarrow import types

    kind = schema.field(column).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind)


def _columns(metadata: Any, schema: Any, name: str, fields: Sequence[str]) -> tuple[str, list[str]]:
    """The column that tells photos, and all to read, of a file within the budgets."""
    from pyarrow import types

    if metadata.num_columns > METADATA_COLUMNS or metadata.num_rows > METADATA_ROWS:
        raise UserError(
            f"{name} has {metadata.num_rows} rows of {metadata.num_columns} columns: expected at"
            f" most {METADATA_ROWS} of {METADATA_COLUMNS}, the photos of one tar"
        )
    by = next((key for key in KEYS if key in schema.names), None)
    if by is None:
        raise UserError(
            f"{name}: expected a column `key` or `url` that tells each row's photo, got"
            f" {', '.join(schema.names)[:200]}"
        )
    columns = [by, *(field for field in dict.fromkeys(fields) if field in schema.names)]
    columns = list(dict.fromkeys(columns))
    for column in columns:
        if schema.names.count(column) > 1:
            raise UserError(f"{name}: expected one column {column}, got several of that name")
        kind = schema.field(column).type
        number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        if not _is_text(schema, column) and (column == by or not (number or types.is_null(kind))):
            raise UserError(
                f"{name}, column {column}: expected {'text' if column == by else 'text or numbers'}"
                f", got {kind}"
            )
    return by, columns


def _check_sizes(stream: IO[bytes], metadata: Any, name: str, columns: list[str]) -> None:
    """Refuse row groups of more rows, pages or unpacked bytes than the budgets."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        raise ValueError(f"its row groups have {sum(rows)} rows, the file {metadata.num_rows}")
    pages = total = 0
    for group in groups:
        size = 0
        for position in range(group.num_columns if group.num_rows else 0):
            chunk = group.column(position)
            if chunk.path_in_schema in columns:
                begin = chunk.data_page_offset
                if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                    begin = min(begin, chunk.dictionary_page_offset)
                most = PARQUET_PAGES - pages
                found = unpacked_pages(stream, begin, chunk.total_compressed_size, most)
                pages, size = pages + found.pages, size + found.unpacked
        total += size
        if size > PARQUET_GROUP_BYTES or total > PARQUET_UNPACKED_BYTES:
            raise UserError(
                f"{name}: expected at most {PARQUET_GROUP_BYTES} bytes in the columns"
                f" {', '.join(columns)} of a row group, {PARQUET_UNPACKED_BYTES} in all, got"
                f" {size}, {total}"
            )
