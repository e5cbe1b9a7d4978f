"""Which photos of a run are done: their files are complete and were made with the same settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eval_now.predictions.fingerprints import same_fingerprint
from mica_ext.commands.photo_run.output_plan import Job
from mica_ext.commands.photo_run.run_record import Entry, FolderRecord, PhotoIdentity, Settings
from mica_ext.errors import UserError


class Selection(NamedTuple):
    """The jobs of a run, apart."""

    pending: tuple[Job, ...]
    done: tuple[Job, ...]
    unrecorded: int
    """Jobs among `done` of whose files nothing is known but that they exist."""


class FolderRecords:
    """The records of all folders of results, read when they are first needed."""

    def __init__(self) -> None:
        self._folders: dict[Path, FolderRecord] = {}

    def of(self, folder: Path) -> FolderRecord:
        """The record of one folder."""
        if folder not in self._folders:
            self._folders[folder] = FolderRecord(folder)
        return self._folders[folder]

    def entry(self, file: Path) -> Entry | None:
        """What is known of a file."""
        return self.of(file.parent).entry(file.name)

    def interrupted(self, file: Path) -> bool:
        """Whether a process was killed while it replaced `file`."""
        entry = self.entry(file)
        return entry is not None and entry.settings is None

    def start(self, files: Sequence[Path], *, create: bool) -> None:
        """Note that `files` are being replaced, in new records too if `create`."""
        for record, names in self._by_folder(files, create=create):
            record.start(names)

    def finish(
        self, files: Sequence[Path], photo: PhotoIdentity, settings: Settings, *, create: bool
    ) -> None:
        """Note that `files` are complete."""
        for record, names in self._by_folder(files, create=create):
            record.finish(names, photo, settings)

    def _by_folder(
        self, files: Sequence[Path], *, create: bool
    ) -> list[tuple[FolderRecord, tuple[str, ...]]]:
        groups: dict[Path, list[str]] = {}
        for file in files:
            groups.setdefault(file.parent, []).append(file.name)
        rows = [(self.of(folder), tuple(names)) for folder, names in groups.items()]
        return [row for row in rows if create or row[0].exists]


def select_jobs(jobs: Sequence[Job], settings: Settings, records: FolderRecords) -> Selection:
    """Tell the jobs that are done from those to do.

    Raises:
        UserError: for files that were made with other settings or of another photo, or that exist
            only in part.
    """
    pending: list[Job] = []
    done: list[Job] = []
    unrecorded: list[Job] = []
    refused: list[str] = []
    for job in jobs:
        present = [path for path in job.outputs.paths() if _has_content(path)]
        entries = [records.entry(path) for path in present]
        if not present or any(map(records.interrupted, present)):
            pending.append(job)
        elif None in entries:
            _refuse_partial(job, present, [])
            done.append(job)
            unrecorded.append(job)
        elif line := _difference(job, present, entries, settings):
            refused.append(line)
        else:
            _refuse_partial(job, present, entries)
            done.append(job)
    if refused:
        others = f" ({len(refused)} photos are concerned)" if len(refused) > 1 else ""
        raise UserError(refused[0] + others)
    _refuse_renumbered(pending, unrecorded)
    return Selection(tuple(pending), tuple(done), len(unrecorded))


def _difference(
    job: Job, present: Sequence[Path], entries: Sequence[Entry | None], settings: Settings
) -> str | None:
    """Why the recorded files are not those of this run; None if they are."""
    cure = "choose another folder, or give --overwrite to make it anew"
    for path, entry in zip(present, entries, strict=True):
        if entry is None or entry.settings is None or entry.photo is None:
            continue
        keys = [key for key in {**entry.settings, **settings} if _differs(entry, settings, key)]
        if keys:
            changes = ", ".join(
                f"{key} {entry.settings.get(key, 'unknown')} (now {settings.get(key, 'unknown')})"
                for key in keys
            )
            return f"{path}: was made with {changes}; {cure}"
        if job.photo.exists() and not entry.photo.matches(job.photo, job.name):
            same = entry.photo.name == job.name
            what = "an earlier content of this photo" if same else f"the photo {entry.photo.name}"
            return f"{path}: was made of {what}; {cure}"
    return None


def _differs(entry: Entry, settings: Settings, key: str) -> bool:
    assert entry.settings is not None
    before, now = entry.settings.get(key), settings.get(key)
    if before is None or now is None:
        return before is not now
    return not same_fingerprint(before, now)


def _refuse_partial(job: Job, present: Sequence[Path], entries: Sequence[Entry | None]) -> None:
    recorded = [
        path.parent / name
        for path, entry in zip(present, entries, strict=False)
        if entry is not None
        for name in entry.files
    ]
    for path in (*job.outputs.paths(), *recorded):
        if not _has_content(path):
            raise _partial(present[0], path, "the same photo")


def _refuse_renumbered(pending: Sequence[Job], unrecorded: Sequence[Job]) -> None:
    """Photos of one stem share their names by number: a further one may renumber the others.

    Only records tell then which file is of which photo.
    """
    by_stem = {_stem(job): job for job in unrecorded}
    for job in pending:
        if other := by_stem.get(_stem(job)):
            there, missing = other.outputs.paths()[0], job.outputs.paths()[0]
            raise _partial(there, missing, "a photo of the same name")


def _partial(there: Path, missing: Path, whose: str) -> UserError:
    return UserError(
        f"{there}: exists, but {missing} of {whose} does not; remove that file, or "
        "give --overwrite to do all photos anew"
    )


def _stem(job: Job) -> str:
    return str(Path(job.name).with_suffix("")).lower()


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
