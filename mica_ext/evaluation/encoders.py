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
from pacofr.engine.device import choose_device
from pacofr.engine.distributed import process_group
from pacofr.engine.sampling import RankBatch
from pacofr.engine.task import RunOptions
from pacofr.engine.trainer import fit
from pacofr.errors import UserError as ContentError
from pacofr.models.encoders import load_encoder
from pacofr.models.vit import VisionTransformer
from pacofr.utils.config_json import read_json

JUDGES_SEED = 990_000
"""Of the rendered people to judge on; `mica-ext train` with any usual seed has others."""
RANDOM = "random"
MEASURED, MEASURED_VERSION = "measured.json", 2
TESTSET = "testset"
"""Of --helen."""
BATCH = 8
"""Faces decoded at a time."""


class Encoder(NamedTuple):
    """One of those that are compared."""

    name: str
    kind: str
    """Of `pacofr.models.encoders`, or random."""
    weights: Path | None

    def load(self, seed: int) -> VisionTransformer:
        """The transformer; random weights are those of the seed.

        Raises:
            UserError: the weights cannot be read.
        """
        if self.kind != RANDOM:
            return load_encoder(self.kind, self.weights).vit
        sizes = load_encoder("pacofr", self.weights).vit.config
        torch.manual_seed(seed)
        return VisionTransformer(sizes)


class Run(NamedTuple):
    """One training."""

    encoder: Encoder
    tuned: bool
    seed: int

    @property
    def row(self) -> str:
        """Name of the row that all seeds share."""
        return f"{self.encoder.name}, {'tuned' if self.tuned else 'frozen'}"

    def folder(self, out: Path) -> Path:
        """Of the run."""
        tuning = "tuned" if self.tuned else "frozen"
        return out / f"{self.encoder.name}-{tuning}-{self.seed}"


def compare_encoders(config: CompareEncodersConfig) -> int:
    """Train and measure what is not there yet, then write and print the tables.

    Returns:
        0, or the exit code of a training that was stopped.

    Raises:
        UserError: an encoder, the head, data or photos cannot be used; a run began with other
            options.
    """
    encoders = read_encoders(config.encoders)
    head = load_head(chosen_head(config.head))
    for encoder in encoders:  # before hours of work
        encoder.load(0)
    if config.helen is not None:
        labelled_photos(config.helen / TESTSET)
    runs = [
        Run(encoder, tuning == "tuned", seed)
        for seed in config.seeds
        for encoder in encoders
        for tuning in config.tuning
    ]
    judge = Judge(config, head)
    measured = []
    for number, run in enumerate(runs, start=1):
        print(f"run {number} of {len(runs)}: {run.row}, seed {run.seed}", flush=True)
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


def read_encoders(words: tuple[str, ...]) -> list[Encoder]:
    """The encoders of NAME=KIND:WEIGHTS.

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
        if kind == "scratch" or not weights:
            raise UserError(
                f"{word}: expected the weights after KIND: (random:RUN takes RUN's sizes alone)"
            )
        encoders.append(Encoder(name, kind, Path(weights)))
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
        encoder_weights=run.encoder.weights,
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
    if (run.folder(config.out) / MEASURED).is_file():
        return 0
    asked = training_config(config, run)
    with process_group(config.device) as world:
        task = ExpressionTraining(asked, run.encoder.load(run.seed), head, world)
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

    def measure(self, run: Run) -> RunErrors:
        """The errors of a run, measured or read again.

        Raises:
            UserError: network, photos or earlier errors cannot be read.
        """
        folder = run.folder(self.config.out)
        path, asked = folder / MEASURED, self._asked()
        known = _read_measured(path) if path.is_file() else {}
        if known.get("asked") != asked:
            known = {"asked": asked, **self._measure(folder / "model")}
            write_bytes_atomic(path, (json.dumps(known) + "\n").encode())
        return RunErrors.of(run.row, run.seed, known)

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

    def _asked(self) -> dict[str, object]:
        helen = None if self.config.helen is None else str(self.config.helen.resolve())
        return {
            "version": MEASURED_VERSION, "people": self.config.people, "helen": helen,
            "head": self.head.name, "head_version": self.head.version, "regions": list(REGIONS),
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
