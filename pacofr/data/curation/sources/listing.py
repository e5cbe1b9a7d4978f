"""What lies in a curation's source: a local folder or tar, or a remote one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pacofr.data.curation.sources.metadata_table import TABLE_SUFFIX
from pacofr.data.curation.sources.tars import ARCHIVES
from pacofr.data.curation.stats import Counter, LeftOut
from pacofr.data.remote.location import Location, Url, expand_ranges
from pacofr.data.remote.stores import list_files, look_up
from pacofr.errors import UserError
from pacofr.images import SUFFIXES, scan_folder
from pacofr.images.folder import HIDDEN, NO_FILE, OTHER_FILE, SEEN_FOLDER, UNREADABLE

IN_FOLDERS = {
    HIDDEN: LeftOut.HIDDEN,
    OTHER_FILE: LeftOut.NO_PICTURE,
    NO_FILE: LeftOut.NO_FILE,
    SEEN_FOLDER: LeftOut.REPEATED_FOLDER,
    UNREADABLE: LeftOut.UNREADABLE_FOLDER,
}


class SourceFiles(NamedTuple):
    """The files of one source."""

    name: str
    root: Location
    tars: Sequence[Location]
    images: Sequence[Location]
    tables: Sequence[Location | None]
    """The parquet table beside each tar, where there is one."""


def local_files(source: Path, left_out: Counter) -> SourceFiles:
    """The files of a folder or a tar; `left_out` counts those of a folder that are no photos.

    Raises:
        UserError: it is neither, or holds no photo.
    """
    if source.is_file() and is_tar(source):
        table = source.with_suffix(TABLE_SUFFIX)
        beside = table if table.is_file() else None
        return SourceFiles(source.name, source.parent, [source], [], [beside])
    if not source.is_dir():
        raise UserError(f"{source} is neither a folder nor a .tar file: expected photos")
    name = source.name or source.resolve().name
    listing = scan_folder(source, recursive=True, by_content=True)
    tars = [each.path for each in listing.skipped if _is_readable_tar(each.path)]
    if not tars and not listing.images:
        raise UserError(f"{source} holds no image: expected .jpg, .png, .webp or .tar files")
    others = {each.path for each in listing.skipped}
    beside = [tar.with_suffix(TABLE_SUFFIX) for tar in tars]
    tables = [table if table in others else None for table in beside]
    used = {*tars, *tables}
    for each in listing.skipped:
        if each.path not in used:
            reason = IN_FOLDERS[each.reason]
            if reason is LeftOut.NO_PICTURE and each.path.suffix.lower() in ARCHIVES:
                reason = LeftOut.ARCHIVE
            left_out.add(reason, f"{name}/{each.path.relative_to(source).as_posix()}")
    return SourceFiles(name, source, tars, listing.images, tables)


def remote_files(source: Url) -> SourceFiles:
    """The files of a URL: of a tar, of a folder, or of all that its ranges or `*` stand for.

    Raises:
        UserError: a tar or the folder is missing, cannot be looked up, or holds no photo.
    """
    expanded = expand_ranges(source)
    if source.is_pipe:
        return SourceFiles(source.name, Url(""), expanded, [], [None] * len(expanded))
    if all(is_tar(url) for url in expanded) and "*" not in source.text:
        found = look_up([*expanded, *(url.with_suffix(TABLE_SUFFIX) for url in expanded)])
        tars = [tar for tar in found[: len(expanded)] if tar is not None]
        missing = sorted({url.text for url in expanded} - {tar.text for tar in tars})
        if missing:
            others = f", nor are {len(missing) - 1} others of {source}" if missing[1:] else ""
            raise UserError(f"{Url(missing[0])} is not there{others}; check the URL")
        return SourceFiles(source.name, _folder_of_all(tars), tars, [], found[len(expanded) :])
    listings = [list_files(url) for url in expanded]
    shown = [file for each in listings for file in each.files if not file.name.startswith(".")]
    images = [file for file in shown if file.suffix.lower() in SUFFIXES]
    tars = _with_sizes([file for file in shown if is_tar(file)])
    if not tars and not images:
        raise UserError(f"{source} holds no image: expected .jpg, .png, .webp or .tar files")
    by_text = {file.text: file for file in shown}
    tables = [by_text.get(tar.with_suffix(TABLE_SUFFIX).text) for tar in tars]
    used = _with_sizes([table for table in tables if table is not None])
    by_text = {file.text: file for file in used}
    tables = [None if table is None else by_text[table.text] for table in tables]
    if len(listings) == 1 and "*" not in source.text:
        root = listings[0].folder
    else:
        root = _folder_of_all(tars or images)
    return SourceFiles(source.name, root, tars, images, tables)


def _with_sizes(files: Sequence[Url]) -> list[Url]:
    """The files, those looked up whose size the listing did not tell."""
    unknown = [file for file in files if file.size is None]
    sizes = {file.text: found for file, found in zip(unknown, look_up(unknown), strict=True)}
    return [sizes.get(file.text) or file for file in files]


def _folder_of_all(files: Sequence[Url]) -> Url:
    """The folder that all files lie below."""
    return Url(os.path.commonprefix([str(file) for file in files]).rpartition("/")[0])


def is_tar(path: Location) -> bool:
    """Whether it is a tar by its name."""
    return path.suffix.lower() == ".tar"


def _is_readable_tar(path: Path) -> bool:
    return is_tar(path) and not path.name.startswith(".") and path.is_file()
