"""`mica-ext compare-encoders`: a branch on each encoder, trained alike, judged on the same faces.

OUT/NAME-frozen-0/           the run of NAME, frozen, with seed 0, as of `mica-ext train`
OUT/NAME-frozen-0/measured.json    its errors on every face
OUT/encoders.md, encoders.json     tables, paired differences with intervals
"""

import json
import re
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import installed_heads, load_head
from mica_ext.errors import UserError, printable
from mica_ext.evaluation.config import CompareEncodersConfig
from mica_ext.evaluation.encoder_report import RunErrors, json_content, markdown
from mica_ext.evaluation.photos import JudgedPhotos
from mica_ext.evaluation.posed_errors import REGIONS, face_regions, posed_errors, region_errors
from mica_ext.expression.config import BranchConfig, ExpressionTrainingConfig
from mica_ext.expression.network import ExpressionNetwork, head_parameters
from mica_ext.expression.predictor import ExpressionPredictor
from mica_ext.expression.training.crops import CropMaker, network_input
from mica_ext.expression.training.data import PLAIN, CropReader, FlatBatch
from mica_ext.expression.training.rendered import RenderedHeads
from mica_ext.expression.training.train import ExpressionTraining, trainer_config
from mica_ext.expression.weights import load_expression_network
from mica_ext.files import write_bytes_atomic
from mica_ext.landmarks.annotated_photos import labelled_photos
from mica_ext.reconstruct import Reconstructor
from pacofr.engine.batches.sampling import RankBatch
from pacofr.engine.device import choose_device
from pacofr.engine.distributed import process_group
from pacofr.engine.task import RunOptions
from pacofr.engine.trainer import fit
from pacofr.errors import UserError as ContentError
from pacofr.models.encoders import load_encoder
from pacofr.models.vit import VisionTransformer
from pacofr.utils.config_json import read_json

JUDGES_SEED = 990_000
"""Of the rendered people to judge on; `mica-ext train` with any usual seed has others."""
RANDOM = "random"
MEASURED, MEASURED_VERSION = "measured.json", 3
TESTSET = "testset"
"""Of --helen."""
BATCH = 8
"""Faces decoded at a time."""


class Encoder(NamedTuple):
    """One of those that are compared."""

    name: str
    kind: str
    """Of `pacofr.models.encoders`, or random."""
    weights: tuple[Path, ...]
    """One for all seeds, or each seed's own, in their order."""


class Run(NamedTuple):
    """One training."""

    encoder: Encoder
    tuned: bool
    seed: int
    weights: Path
    """The encoder's for this seed."""

    @property
    def row(self) -> str:
        """Name of the row that all seeds share."""
        return f"{self.encoder.name}, {'tuned' if self.tuned else 'frozen'}"

    def folder(self, out: Path) -> Path:
        """Of the run."""
        tuning = "tuned" if self.tuned else "frozen"
        return out / f"{self.encoder.name}-{tuning}-{self.seed}"


def initial_encoder(kind: str, weights: Path, seed: int) -> VisionTransformer:
    """The transformer a run begins with; of kind random those of the seed, in the weights' sizes.

    Raises:
        UserError: the weights cannot be read.
    """
    if kind != RANDOM:
        return load_encoder(kind, weights).vit
    sizes = load_encoder("pacofr", weights).vit.config
    torch.manual_seed(seed)
    return VisionTransformer(sizes)


def compare_encoders(config: CompareEncodersConfig) -> int:
    """Train and measure what is not there yet, then write and print the tables.

    Returns:
        0, or the exit code of a training that was stopped.

    Raises:
        UserError: an encoder, the head, data or photos cannot be used; a run began with other
            options.
    """
    runs = planned_runs(config)
    head = load_head(chosen_head(config.head))
    first = {(run.encoder.kind, run.weights): run for run in runs}
    for run in first.values():  # before hours of work
        initial_encoder(run.encoder.kind, run.weights, run.seed)
    if config.helen is not None:
        labelled_photos(config.helen / TESTSET)
    judge = Judge(config, head)
    measured = []
    for number, run in enumerate(runs, start=1):
        print(f"run {number} of {len(runs)}: {run.row}, seed {run.seed}", flush=True)
        if not judge.has_measured(run):
            code = train_run(config, head, run)
            if code:
                return code
        measured.append(judge.measure(run))
    text = markdown(measured)
    write_bytes_atomic(config.out / "encoders.md", text.encode())
    content = json.dumps(json_content(measured), indent=1) + "\n"
    write_bytes_atomic(config.out / "encoders.json", content.encode())
    print("\n".join(printable(line) for line in text.rstrip().splitlines()))
    return 0


def planned_runs(config: CompareEncodersConfig) -> list[Run]:
    """All runs, seed by seed.

    Raises:
        UserError: an encoder is not NAME=KIND:WEIGHTS, or has weights for another count of seeds.
    """
    encoders = read_encoders(config.encoders)
    for encoder in encoders:
        if len(encoder.weights) not in (1, len(config.seeds)):
            raise UserError(
                f"{encoder.name}: expected one file or folder of weights, or one for each of the "
                f"{len(config.seeds)} seeds, got {len(encoder.weights)}"
            )
    return [
        Run(encoder, tuning == "tuned", seed, encoder.weights[position % len(encoder.weights)])
        for position, seed in enumerate(config.seeds)
        for encoder in encoders
        for tuning in config.tuning
    ]


def read_encoders(words: tuple[str, ...]) -> list[Encoder]:
    """The encoders of NAME=KIND:WEIGHTS or NAME=KIND:WEIGHTS,WEIGHTS,...

    Raises:
        UserError: a word is none of these, or two have one name.
    """
    encoders = []
    for word in words:
        name, _, rest = word.partition("=")
        kind, _, weights = rest.partition(":")
        if not re.fullmatch(r"\w[\w.+-]*", name) or not kind:
            raise UserError(
                f"{word}: expected NAME=KIND:WEIGHTS, such as mine=pacofr:runs/micro or "
                "none=random:runs/micro"
            )
        paths = tuple(Path(word) for word in weights.split(",") if word)
        if kind == "scratch" or not paths:
            raise UserError(
                f"{word}: expected the weights after KIND: (random:RUN takes RUN's sizes alone)"
            )
        encoders.append(Encoder(name, kind, paths))
    names = [encoder.name.lower() for encoder in encoders]
    if len(set(names)) < len(names):
        raise UserError("two encoders have one name; give each NAME= its own")
    return encoders


def chosen_head(name: str) -> str:
    """The head of `--head`: for auto ICT where it is installed, else Anthro."""
    if name != "auto":
        return name
    return "ict" if "ict" in installed_heads() else "anthro"


def training_config(config: CompareEncodersConfig, run: Run) -> ExpressionTrainingConfig:
    """The training of one run: alike for all but encoder, tuning and seed."""
    return ExpressionTrainingConfig(
        out=run.folder(config.out),
        encoder_weights=run.weights,
        tuned=run.tuned,
        head=config.head,
        branch=BranchConfig(width=config.width),
        data=config.data,
        rendered=config.rendered,
        steps=config.steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        encoder_rate=config.encoder_rate,
        warm_up=min(200, config.steps // 10),
        ema_decay=min(0.999, 1 - 10 / (10 + config.steps)),
        held_out=1,
        precision=config.precision,
        device=config.device,
        workers=config.workers,
        seed=run.seed,
        validate_every=0,
    )


def train_run(config: CompareEncodersConfig, head: HeadModel, run: Run) -> int:
    """Train a run, or go on with it; the exit code."""
    asked = training_config(config, run)
    with process_group(config.device) as world:
        encoder = initial_encoder(run.encoder.kind, run.weights, run.seed)
        task = ExpressionTraining(asked, encoder, head, world)
        options = RunOptions(out=asked.out, device=config.device, keep=1)
        return fit(task, trainer_config(asked), options, world)


class Judge:
    """The faces that all runs are judged on."""

    def __init__(self, config: CompareEncodersConfig, head: HeadModel) -> None:
        """Set up; faces are rendered and cropped when the first run is measured."""
        self.config, self.head = config, head
        self.decoder = HeadDecoder(head)
        self.regions = face_regions(self.decoder)
        self.people: dict[object, FlatBatch] = {}
        self.device = choose_device(config.device)

    @cached_property
    def photos(self) -> JudgedPhotos | None:
        """The photos, where some were given.

        Raises:
            UserError: they cannot be read.
        """
        if self.config.helen is None:
            return None
        reconstructor = Reconstructor.load(head=chosen_head(self.config.head))
        return JudgedPhotos(self.config.helen / TESTSET, reconstructor)

    def has_measured(self, run: Run) -> bool:
        """Whether the run's errors are there, of the same training and the same faces.

        Raises:
            UserError: earlier errors cannot be read.
        """
        return self._known(run).get("asked") == self._asked(run)

    def measure(self, run: Run) -> RunErrors:
        """The errors of a run, measured or read again.

        Raises:
            UserError: network, photos or earlier errors cannot be read.
        """
        known = self._known(run)
        if known.get("asked") != self._asked(run):
            folder = run.folder(self.config.out)
            known = {"asked": self._asked(run), **self._measure(folder / "model")}
            write_bytes_atomic(folder / MEASURED, (json.dumps(known) + "\n").encode())
        return RunErrors.of(run.row, run.seed, known)

    def _known(self, run: Run) -> dict[str, object]:
        path = run.folder(self.config.out) / MEASURED
        return _read_measured(path) if path.is_file() else {}

    def _measure(self, folder: Path) -> dict[str, object]:
        network = load_expression_network(folder, self.head)
        people = self._people(network)
        found: dict[str, object] = {
            "posed_mm": self._errors(people, network).tolist(),
            "rest_mm": self._errors(people, None).tolist(),
        }
        if self.photos is not None:
            errors = self.photos.measure(ExpressionPredictor(folder, self.decoder, self.device))
            found |= {"nme": errors.nme.tolist(), "dense": errors.dense.tolist()}
            found["movements"] = {name: rows.tolist() for name, rows in errors.movements.items()}
        return found

    def _asked(self, run: Run) -> dict[str, object]:
        """What the errors are of: the training and the faces."""
        config = self.config
        helen = None if config.helen is None else str(config.helen.resolve())
        return {
            "version": MEASURED_VERSION, "people": config.people, "helen": helen,
            "head": self.head.name, "head_version": self.head.version, "regions": list(REGIONS),
            "encoder": run.encoder.kind, "weights": str(run.weights.resolve()),
            "data": [str(folder.resolve()) for folder in config.data], "rendered": config.rendered,
            "steps": config.steps, "batch": config.batch, "learning_rate": config.learning_rate,
            "encoder_rate": config.encoder_rate, "width": config.width,
            "precision": config.precision,
        }  # fmt: skip

    def _people(self, network: ExpressionNetwork) -> FlatBatch:
        """Rendered people as the network's encoder sees them."""
        window = network.window
        if window not in self.people:
            source = RenderedHeads(self.head, JUDGES_SEED, epoch_size=self.config.people)
            crops = CropMaker(self.decoder, window, PLAIN)
            zero = np.zeros(self.config.people, np.int64)
            rows = RankBatch(zero, zero, np.arange(self.config.people))
            self.people[window] = CropReader([source], crops, JUDGES_SEED)(rows)
        return self.people[window]

    @torch.no_grad()
    def _errors(
        self, people: FlatBatch, network: ExpressionNetwork | None
    ) -> Float64[np.ndarray, "N R"]:
        """Posed distances by region on the people's own identities [mm]; None: of heads at rest."""
        errors = []
        for begin in range(0, len(people.crops), BATCH):
            part = FlatBatch(*(values[begin : begin + BATCH] for values in people))
            truth = part.truth.movement
            if network is None:
                output = truth._replace(**{n: 0 * getattr(truth, n) for n in truth._fields[:4]})
            else:
                output = network(network_input(part.crops))
            meshes = []
            for movement in (output, truth):
                zero = torch.zeros_like(movement.crop_pose)
                bounds = self.head.expression_bounds
                head = head_parameters(movement, part.shape, bounds, zero)
                meshes.append(self.decoder(head).vertices.double().numpy())
            pairs = zip(*meshes, strict=True)
            errors += [posed_errors(found, wanted, self.regions) for found, wanted in pairs]
        return region_errors(errors)


def _read_measured(path: Path) -> dict[str, object]:
    try:
        content = read_json(path, "errors of `mica-ext compare-encoders`", max_bytes=64 << 20)
    except ContentError as error:
        raise UserError(f"{error}; delete it, the same command measures again") from error
    return content if isinstance(content, dict) else {}
