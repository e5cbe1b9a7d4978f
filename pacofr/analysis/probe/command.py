"""`pacofr probe`: the probes of each encoder, their lines, and the JSON file."""

import dataclasses

from pacofr.analysis.config import ProbeCommand
from pacofr.analysis.probe.features import load_probed_encoder
from pacofr.analysis.probe.run import EncoderProbes, ProbeScore, difference
from pacofr.errors import UserError
from pacofr.pretraining.encoder_spec import without_folders
from pacofr.utils.files import write_json

VERSION = 1


def run_probes(command: ProbeCommand) -> None:
    """Score the encoders one after the other, print their lines, write the file.

    Raises:
        UserError: an encoder, photos or labels cannot be read.
    """
    if not command.encoders:
        raise UserError(
            "expected at least one encoder: RUN, NAME:FILE, scratch:PRESET or pixels:PRESET"
        )
    if command.out is not None and command.out.is_dir():
        raise UserError(f"expected a JSON file to write, got the folder {command.out}")
    probes: dict[int, EncoderProbes] = {}
    scores: dict[str, dict[str, object]] = {}
    reference: dict[tuple[str, int], ProbeScore] = {}
    for spec in command.encoders:
        encoder = load_probed_encoder(spec)
        side = encoder.config.image_size
        if side not in probes:
            probes[side] = EncoderProbes(side, command.config)
        entry: dict[str, object] = {}
        ridge = probes[side].ridge(encoder)
        if ridge is not None:
            entry.update(ridge.to_json())
            print(
                f"{spec}: NME {ridge.nme:.3f} % [{ridge.low:.3f}, {ridge.high:.3f}] by ridge,"
                f" mean shape {ridge.mean_shape_nme:.3f} %",
                flush=True,
            )
        readouts = []
        for score in probes[side].scores(encoder):
            readouts.append(score.to_json())
            kind = (score.probe, score.labels)
            print(f"{spec}: {_line(score, reference.get(kind))}", flush=True)
            reference.setdefault(kind, score)
        scores[without_folders(spec)] = {**entry, "readouts": readouts}
    if command.out is not None:
        config = command.config
        settings = {
            **dataclasses.asdict(config),
            "photos": config.photos.name,
            "heads": None if config.heads is None else config.heads.name,
        }
        content = {"version": VERSION, "config": settings, "scores": scores}
        command.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(command.out, content)


def _line(score: ProbeScore, reference: ProbeScore | None) -> str:
    """One score, and how it differs from the first encoder's."""
    kind = "100 - F1" if score.probe == "parsing" else "NME"
    subsets = len(score.errors)
    text = (
        f"{score.probe}, {score.labels} labels ({subsets} subset{'s' * (subsets > 1)}):"
        f" {kind} {score.mean:.3f} %"
    )
    if reference is None:
        return text
    apart = difference(score, reference)
    return f"{text}, {apart.mean:+.3f} +- {apart.half_interval:.3f} to the first encoder"
