"""What `mica-ext samples` makes of each data set: parts of a few people, each in one split."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch

from flame_assets.model.head import HeadModel
from mica_ext.commands.branch_samples.photo_labels import PhotoLabeller
from mica_ext.data.branch.config import SamplesConfig
from mica_ext.data.branch.exclusion import Match, find_matches
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.branch.shards import Part
from mica_ext.data.branch.sources.calibrated_pictures import CalibratedViews, find_pictures
from mica_ext.data.branch.sources.fitted_subject import FittedSubject
from mica_ext.data.branch.sources.mica_set import find_actors
from mica_ext.data.branch.sources.photos import Labeller, people_of, photo_samples
from mica_ext.data.branch.sources.rendered_heads import rendered_heads
from mica_ext.data.branch.sources.rendered_meshes import RENDER_PX, render_frame
from mica_ext.data.branch.splits import SPLITS, Split, split_people
from mica_ext.data.registrations.config import LengthUnit
from mica_ext.data.registrations.fit_files import (
    RunFile,
    SubjectFit,
    finished_subjects,
    load_subject,
    read_run,
)
from mica_ext.data.registrations.layouts import FAMOS_LISTS, find_frames, read_frame_list
from mica_ext.data.registrations.mesh_reader import RegistrationReader
from mica_ext.data.skipped import SkipCounter
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.errors import UserError
from mica_ext.reconstruct import Reconstructor

PEOPLE_PER_PART = 25
HEADS_PER_PART = 250


class Plan(NamedTuple):
    """All parts of a run, and the people who were left out of it."""

    parts: list[Part]
    excluded: list[Match] | None
    """None: nobody was compared with scans."""


def plan_samples(config: SamplesConfig, head: HeadModel, skipped: SkipCounter) -> Plan:
    """Find the data and divide them into parts.

    Raises:
        UserError: they are not there, or belong to another head.
    """
    if config.source == "heads":
        return Plan(_head_parts(config, head), None)
    root = config.root
    assert root is not None
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the {config.source} data")
    if config.source in ("coma", "famos"):
        return _plan_registrations(config, root, head, skipped)
    if config.source == "mica":
        actors = {actor.name: actor for actor in find_actors(root, head, skipped)}
        excluded = _excluded(config, head, {name: each.shape for name, each in actors.items()})
        photos = {name: list(each.photos[:: config.every]) for name, each in actors.items()}
        shapes = {name: each.shape for name, each in actors.items()}
    else:
        photos = {name: paths[:: config.every] for name, paths in people_of(root).items()}
        shapes, excluded = {}, None
        if config.exclude_like is not None:
            raise UserError("--exclude-like: photos have no measured shapes to compare with scans")
    for match in excluded or ():
        photos.pop(match.subject, None)
    return Plan(_photo_parts(config, photos, shapes), excluded)


def _photo_parts(
    config: SamplesConfig, photos: Mapping[str, list[Path]], shapes: Mapping
) -> list[Part]:
    label = PhotoLabeller(Reconstructor.load(head=config.head))
    splits = split_people(photos, config.val, config.test)
    parts = []
    for split in SPLITS:
        own = [name for name in sorted(photos) if splits[name] == split]
        for at in range(0, len(own), PEOPLE_PER_PART):
            people = {name: photos[name] for name in own[at : at + PEOPLE_PER_PART]}
            make = _PhotoSamples(people, shapes, label)
            parts.append(Part(f"{config.source} {at}", split, make))
    return parts


class _PhotoSamples(NamedTuple):
    """Samples of a few people's photos."""

    photos: dict[str, list[Path]]
    shapes: Mapping
    label: Labeller

    def __call__(self, skipped: SkipCounter) -> Iterator[BranchSample]:
        for name, paths in self.photos.items():
            yield from photo_samples(name, paths, self.label, skipped, self.shapes.get(name))


def _head_parts(config: SamplesConfig, head: HeadModel) -> list[Part]:
    yaw = float(np.radians(config.max_yaw))
    faces = SyntheticFaces(head, seed=config.seed, size=RENDER_PX, max_yaw=yaw)
    starts = range(0, config.count, HEADS_PER_PART)
    splits = split_people([f"heads {at}" for at in starts], config.val, config.test)
    return [
        Part(
            f"heads {at}",
            splits[f"heads {at}"],
            _HeadSamples(faces, range(at, min(at + HEADS_PER_PART, config.count))),
        )
        for at in starts
    ]


class _HeadSamples(NamedTuple):
    """Samples of rendered heads."""

    faces: SyntheticFaces
    numbers: range

    def __call__(self, skipped: SkipCounter) -> Iterator[BranchSample]:
        return rendered_heads(self.faces, self.numbers)


def _plan_registrations(
    config: SamplesConfig, root: Path, head: HeadModel, skipped: SkipCounter
) -> Plan:
    fits = config.fits
    assert fits is not None
    run = read_run(fits)
    _check_run(config, head, run, fits)
    subjects = find_frames("coma" if config.source == "coma" else "famos", root, "all", 1, skipped)
    skipped.counts.clear()  # what matters here is what was fitted
    done = finished_subjects(fits)
    shapes = {name: load_subject(fits, name, head).shape for name in done}
    excluded = _excluded(config, head, shapes)
    left_out = {match.subject for match in excluded or ()}
    people = [name for name in done if name not in left_out]
    splits = split_people(people, config.val, config.test) | _published(config, root)
    views = None
    if config.source == "famos" or config.images is not None:
        pictures = find_pictures(root if config.images is None else config.images)
        views = CalibratedViews(pictures, config.views, config.max_yaw)
    faces = None if views else SyntheticFaces(head, seed=config.seed, size=RENDER_PX)
    units: tuple[LengthUnit, ...] = get_args(LengthUnit)
    reader = RegistrationReader(head, next(u for u in units if u == run.settings.get("unit")))
    parts = []
    for number, name in enumerate(people):
        paths = {(frame.sequence, frame.frame): frame.path for frame in subjects.get(name, [])}
        make = _RegisteredSamples(config, fits, name, number, head, reader, paths, views, faces)
        parts.append(Part(name, splits[name], make))
    return Plan(parts, excluded)


class _RegisteredSamples(NamedTuple):
    """Samples of one person's registrations, from real pictures or rendered."""

    config: SamplesConfig
    fits: Path
    name: str
    number: int
    head: HeadModel
    reader: RegistrationReader
    paths: dict[tuple[str, str], Path]
    views: CalibratedViews | None
    faces: SyntheticFaces | None

    @torch.no_grad()
    def __call__(self, skipped: SkipCounter) -> Iterator[BranchSample]:
        fit: SubjectFit = load_subject(self.fits, self.name, self.head)
        subject = FittedSubject(self.head, fit, self.reader)
        known: dict[str, set[str]] = {}
        for sequence, name in self.paths:
            known.setdefault(sequence, set()).add(name)
        if self.views is not None:
            for sequence, names in known.items():
                self.views.count_strangers(subject, sequence, names, skipped)
        for row, key in list(enumerate(fit.about.frames))[:: self.config.every]:
            path = self.paths.get(key)
            if path is None:
                skipped.add("missing frame", "/".join((self.name, *key)))
                continue
            frame = subject.frame(row, path, skipped)
            if frame is None:
                continue
            if self.views is not None:
                yield from self.views.samples(subject, frame, skipped)
            elif self.faces is not None:
                key_numbers = (self.number, row)
                count = self.config.renders
                yield from render_frame(subject, frame, self.faces, key_numbers, count)


def _check_run(config: SamplesConfig, head: HeadModel, run: RunFile, fits: Path) -> None:
    if run.source != config.source:
        raise UserError(f"--fits {fits}: expected fits of {config.source}, got {run.source}")
    if (run.head, run.head_version) != (head.name, head.version):
        raise UserError(
            f"--fits {fits}: made with the head {run.head} {run.head_version}, got {head.name} "
            f"{head.version}; give --head {run.head} or fit again"
        )


def _published(config: SamplesConfig, root: Path) -> dict[str, Split]:
    """People of FaMoS' published lists, those that are there."""
    splits: dict[str, Split] = {}
    if config.source == "famos":
        for split in SPLITS:
            places = (root, root / "training_data", root / "test_data")
            if any((place / FAMOS_LISTS[split]).is_file() for place in places):
                splits |= {row.subject: split for row in read_frame_list(root, split)}
    return splits


def _excluded(config: SamplesConfig, head: HeadModel, shapes: Mapping) -> list[Match] | None:
    if config.exclude_like is None:
        return None
    return find_matches(head, config.exclude_like, shapes, config.exclude_median_mm)
