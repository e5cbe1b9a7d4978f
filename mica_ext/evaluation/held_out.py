"""`mica-ext evaluate-expression`: posed meshes of packs on samples of people held out."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.data.branch.sample import BranchSample, sequence_of
from mica_ext.data.branch.shards import BranchDataset
from mica_ext.errors import UserError, printable
from mica_ext.estimator import FaceEstimator
from mica_ext.evaluation.config import ExpressionEvaluationConfig
from mica_ext.evaluation.posed_errors import (
    FACE,
    REGIONS,
    FaceRegions,
    face_regions,
    posed_errors,
)
from mica_ext.evaluation.tables import markdown_table
from mica_ext.expression.training.samples import SampleFolder
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pose import in_pose
from mica_ext.models.types import AlignedFace
from mica_ext.reconstruct import Reconstructor
from mica_ext.table8.run import asked_packs
from pacofr.analysis.probe.run import interval
from pacofr.errors import UserError as ContentError
from pacofr.faces.detect import Face
from pacofr.utils.progress import track

FORMAT, VERSION = "mica-ext evaluate-expression", 1
ALONE, MEAN = "alone, neutral", "mean expression"
POINTS, NETWORK, BOTH = "fit to dense points", "network alone", "network, then fit"
MOST_FOR_MEAN = 500
"""Training samples that the mean expression is of, evenly taken."""
FACE_BOX = (60.0, 60.0, 260.0, 260.0)
"""The face in a sample's picture [px]."""

Method = Callable[[AlignedFace, Float[Tensor, "1 S"] | None], HeadParameters]
"""Parameters of a face whose identity may be known."""


class MeasuredFace(NamedTuple):
    """One method's errors on one sample."""

    pack: str
    method: str
    subject: str
    expression: str
    """Name of its sequence; empty where samples have none."""
    errors: dict[str, float]
    """By `posed_errors.REGIONS` [mm]."""


def evaluate_expression(config: ExpressionEvaluationConfig) -> None:
    """Measure all packs, print the tables, write evaluation.md and evaluation.json.

    Raises:
        UserError: the samples or a pack cannot be used, or have different heads.
    """
    asked = asked_packs(config.packs)
    measured: list[MeasuredFace] = []
    missing = 0
    for one in asked:
        reconstructor = Reconstructor.load(one.pack, head=config.head)
        split = SampleFolder(config.data, config.split, reconstructor.head).samples
        mean = mean_expression(config.data, reconstructor.decoder)
        methods = methods_of(reconstructor, mean)
        regions = face_regions(reconstructor.decoder)
        numbers = range(0, len(split), config.every)
        for number in track(numbers, one.name):
            sample = split[number]
            found = measure_sample(sample, reconstructor, methods, regions)
            missing += found is None
            measured += [
                MeasuredFace(one.name, method, sample.subject, sequence_of(sample.source), errors)
                for method, errors in (found or {}).items()
            ]
    if not measured:
        raise UserError(
            f"{config.data}: expected samples with meshes or parameters in {config.split}, found "
            "none"
        )
    text = report(measured, missing)
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {config.out}: cannot be made ({error.strerror})") from error
    write_bytes_atomic(config.out / "evaluation.md", text.encode())
    content = {
        "format": FORMAT,
        "version": VERSION,
        "unit": "mm",
        "split": config.split,
        "faces": [face._asdict() for face in measured],
    }
    write_bytes_atomic(config.out / "evaluation.json", (json.dumps(content) + "\n").encode())
    print("\n".join(printable(line) for line in text.rstrip().splitlines()))
    print(printable(f"written to {config.out / 'evaluation.md'}, evaluation.json"))


@torch.no_grad()
def mean_expression(data: Path, decoder: HeadDecoder) -> HeadParameters:
    """The mean expression and jaw of the training samples, without identity and pose.

    Raises:
        UserError: there are no training samples with an expression.
    """
    try:
        train = BranchDataset(data / "train")
    except ContentError as error:
        raise UserError(f"{data}: the mean expression is of its train/: {error}") from error
    numbers = np.linspace(0, len(train) - 1, min(len(train), MOST_FOR_MEAN)).round().astype(int)
    samples = [sample for n in numbers if (sample := train[n]).expression is not None]
    if not samples:
        raise UserError(f"{data}: expected training samples with an expression, found none")
    head = HeadParameters.zeros(decoder.head)
    for name in ("expression", "jaw_pose"):
        rows = [value for s in samples if (value := getattr(s, name)) is not None]
        if rows:
            head = head._replace(**{name: torch.from_numpy(np.mean(rows, 0, np.float32))[None]})
    return head


def methods_of(reconstructor: Reconstructor, mean: HeadParameters) -> dict[str, Method]:
    """What a pack can say of a face, by name."""
    head = reconstructor.head
    rest = HeadParameters.zeros(head)

    def on(parameters: HeadParameters) -> Method:
        return lambda _, shape: parameters if shape is None else parameters._replace(shape=shape)

    def estimated(estimator: FaceEstimator) -> Method:
        return lambda face, shape: estimator(face, shape).parameters.head

    points, network = copy.copy(reconstructor.estimator), copy.copy(reconstructor.estimator)
    points.predictor, network.fit = None, "none"
    methods = {ALONE: on(rest), MEAN: on(mean), POINTS: estimated(points)}
    if reconstructor.estimator.predictor is not None:
        methods |= {NETWORK: estimated(network), BOTH: estimated(reconstructor.estimator)}
    return methods


@torch.no_grad()
def measure_sample(
    sample: BranchSample,
    reconstructor: Reconstructor,
    methods: Mapping[str, Method],
    regions: FaceRegions,
) -> dict[str, dict[str, float]] | None:
    """Errors of every method; None where no mesh is known of the sample, or no head fits it."""
    truth = true_vertices(sample, reconstructor.decoder)
    if truth is None:
        return None
    face = Face(np.array(FACE_BOX), 1.0, sample.five_points)
    aligned = reconstructor.align(sample.picture, [face], exact_points=True)
    shape = reconstructor.identity_of(aligned)
    errors = {}
    for name, method in methods.items():
        try:
            found = method(aligned, shape)
        except UserError:
            return None
        mesh = reconstructor.decoder(in_pose(found, "expressive")).vertices[0].double().numpy()
        errors[name] = posed_errors(mesh, truth, regions)
    return errors


def true_vertices(sample: BranchSample, decoder: HeadDecoder) -> Float[np.ndarray, "V 3"] | None:
    """The registered mesh of a sample, or that of its parameters [m]; None if it has neither."""
    if sample.posed_vertices is not None:
        return sample.posed_vertices.astype(np.float64)
    if sample.shape is None or sample.expression is None:
        return None
    values = {
        name: torch.from_numpy(value)[None]
        for name in HeadParameters._fields
        if (value := getattr(sample, name)) is not None
    }
    head = HeadParameters.zeros(decoder.head)._replace(**values)
    with torch.no_grad():
        return decoder(head).vertices[0].double().numpy()


def report(measured: list[MeasuredFace], missing: int = 0) -> str:
    """Two tables as Markdown: by region, and of the whole face by expression."""
    lines = ["Mean distance of posed meshes, aligned rigidly by the face [mm].", ""]
    rows = []
    for pack, method, own in _by_method(measured):
        means = [np.mean(found) if (found := _of_region(own, name)) else None for name in REGIONS]
        cells = ["-" if value is None else f"{value:.2f}" for value in means]
        rows.append([pack, method, str(len(own)), *cells, _over_people(own)])
    lines += [
        *markdown_table(["pack", "method", "faces", *REGIONS, "face, ± over people"], rows),
        "",
    ]
    names = sorted({face.expression for face in measured if face.expression})
    if names:
        rows = []
        for pack, method, own in _by_method(measured):
            cells = []
            for name in names:
                values = [face.errors[FACE] for face in own if face.expression == name]
                cells.append(f"{np.mean(values):.2f}" if values else "-")
            rows.append([pack, method, *cells])
        lines += ["Of the whole face, by expression [mm].", ""]
        lines += [*markdown_table(["pack", "method", *names], rows), ""]
    people = len({face.subject for face in measured})
    lines.append(f"{people} people" + (f"; {missing} samples left out" if missing else ""))
    return "\n".join(lines) + "\n"


def _of_region(measured: list[MeasuredFace], name: str) -> list[float]:
    return [face.errors[name] for face in measured if name in face.errors]


def _over_people(measured: list[MeasuredFace]) -> str:
    """Half of the 95 % interval of the whole face's error over people."""
    by_person: dict[str, list[float]] = {}
    for face in measured:
        by_person.setdefault(face.subject, []).append(face.errors[FACE])
    means = np.array([[np.mean(errors) for errors in by_person.values()]])
    return f"{interval(means).half_interval:.2f}" if means.size > 1 else "-"


def _by_method(measured: list[MeasuredFace]) -> Iterator[tuple[str, str, list[MeasuredFace]]]:
    for pack, method in dict.fromkeys((face.pack, face.method) for face in measured):
        yield pack, method, [f for f in measured if (f.pack, f.method) == (pack, method)]
