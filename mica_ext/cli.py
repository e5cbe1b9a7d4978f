"""The commands `reconstruct` and `mica-ext`; whatever is heavy is imported when it is needed."""

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import tyro

from mica_ext.commands.config import RebuildConfig, ReconstructConfig
from mica_ext.data.synthetic.config import SynthNowConfig
from mica_ext.errors import UserError, error_line, run_command
from mica_ext.landmarks.config import LandmarkEvaluationConfig, LandmarkTrainingConfig

if TYPE_CHECKING:
    from mica_ext.commands.output_plan import Job, Outputs
    from mica_ext.commands.report import Told
    from mica_ext.export.face_json import Pose
    from mica_ext.export.mesh_files import Unit
    from mica_ext.reconstruct import Photo, Reconstruction, Reconstructor

SOME_FAILED = 3

Command = (
    Annotated[ReconstructConfig, tyro.conf.subcommand("reconstruct")]
    | Annotated[RebuildConfig, tyro.conf.subcommand("rebuild")]
    | Annotated[LandmarkTrainingConfig, tyro.conf.subcommand("train-landmarks")]
    | Annotated[LandmarkEvaluationConfig, tyro.conf.subcommand("evaluate-landmarks")]
    | Annotated[SynthNowConfig, tyro.conf.subcommand("synth-now")]
)


def reconstruct(arguments: list[str] | None = None) -> int:
    """`reconstruct PATH... --out PATH`."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    config = tyro.cli(ReconstructConfig, prog="reconstruct", args=arguments)
    return run_command(lambda: run_reconstruct(config))


def main(arguments: list[str] | None = None) -> int:
    """`mica-ext COMMAND ...`."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    command = tyro.cli(
        Command,  # type: ignore[arg-type]
        prog="mica-ext",
        description="One photo in, an expressive metrical 3D face out.",
        args=arguments,
    )
    return run_command(lambda: _run(command))


def _run(command: object) -> int:
    match command:
        case ReconstructConfig():
            return run_reconstruct(command)
        case RebuildConfig():
            return run_rebuild(command)
        case LandmarkTrainingConfig():
            from mica_ext.landmarks.train import train

            logging.getLogger().setLevel(logging.INFO)
            train(command)
        case LandmarkEvaluationConfig():
            from mica_ext.landmarks.evaluate import evaluate

            evaluate(command)
        case SynthNowConfig():
            from mica_ext.data.synthetic.now import synth_now

            synth_now(command)
    return 0


def run_reconstruct(config: ReconstructConfig) -> int:
    """Do what `reconstruct` was asked to do; the exit code."""
    # The fit solves many small systems: OpenBLAS threads gain nothing there, and on a busy machine
    # or under a CPU quota they wait for each other a hundred times longer than they work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before anything imports NumPy
    from mica_ext.commands.output_plan import make_plan

    plan = make_plan(config)
    if not plan.many and not plan.jobs[0].photo.exists():
        photo = plan.jobs[0].photo
        raise UserError(f"{photo} does not exist: expected an image file; check the path")
    if plan.done:
        done, photos = len(plan.done), len(plan.done) + len(plan.jobs)
        print(
            f"{done} of {photos} photos are done already; --overwrite does them anew",
            file=sys.stderr,
        )
    from mica_ext.commands.report import lines
    from mica_ext.models.pack import load_pack
    from mica_ext.reconstruct import Reconstructor

    pack = load_pack(config.model)
    reconstructor = Reconstructor.load(config.model, head=config.head, device=config.device)
    records, failures = [], []
    shown = plan.many and sys.stderr is not None and sys.stderr.isatty()
    with _Progress(len(plan.jobs), shown=shown) as progress:
        for job in plan.jobs:
            try:
                own = _one_photo(reconstructor, job, config, plan.taken)
            except BrokenPipeError:
                raise
            except Exception as error:
                line = error_line(error)
                if line is None:
                    raise
                if str(job.photo) not in line:
                    line = f"{job.photo}: {line}"
                if not plan.many:
                    raise UserError(line) from error
                failures.append({"photo": str(job.photo), "error": line})
                progress.say(f"error: {line}", error=True)
            else:
                records += [face.record() for face in own]
                if not config.json:
                    progress.say(lines(own))
            progress.step()
    made_with = reconstructor.provenance
    if config.json:
        parts = {part: source._asdict() for part, source in made_with._asdict().items()}
        parts["model"] = {"name": pack.name, "licence": pack.licence}
        skipped = [str(photo) for photo in plan.done]
        report = {"faces": records, "failures": failures, "done_before": skipped, **parts}
        print(json.dumps(report, indent=1))
    else:
        print(f"model: {pack.name} ({pack.licence})")
        for part, source in made_with._asdict().items():
            print(f"{part}: {source.name} {source.version} ({source.licence})")
    if failures:
        done = len(plan.jobs) - len(failures)
        print(
            f"{done} of {len(plan.jobs)} photos reconstructed, {len(failures)} failed:",
            file=sys.stderr,
        )
        for failure in failures:
            print(f"  {failure['photo']}", file=sys.stderr)
        return SOME_FAILED
    return 0


def _one_photo(
    reconstructor: "Reconstructor", job: "Job", config: ReconstructConfig, taken: frozenset[str]
) -> "list[Told]":
    """Reconstruct one photo and write the files of all its faces, or none of them.

    Further faces leave the places in `taken` to others.
    """
    from mica_ext.commands.output_plan import check_writable
    from mica_ext.commands.report import Told
    from mica_ext.commands.staging import drafted
    from pacofr.images import load_image

    image = load_image(job.photo)
    which = int(config.face) if config.face.isdecimal() else config.face
    pose: Pose = "neutral" if config.neutral else "posed" if config.posed else "expressive"
    results = reconstructor.faces(image, which, pose)  # type: ignore[arg-type]
    outputs = job.outputs.of_faces(len(results), taken)
    unit = job.outputs.unit(config.unit)
    places = [path for files in outputs for path in files.paths()]
    for path in places:
        check_writable(path, overwrite=config.overwrite, make_folder=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    with drafted(places) as drafts:
        for files, result in zip(outputs, results, strict=True):
            _write(files.moved(drafts), image, result, unit, job.photo.name)
    return [
        Told(job.photo, result, files.paths(), unit, config.face)
        for files, result in zip(outputs, results, strict=True)
    ]


def _write(
    files: "Outputs", image: "Photo", result: "Reconstruction", unit: "Unit", photo_name: str
) -> None:
    """Write what is asked for of one face."""
    from mica_ext.export.face_json import save_face, save_landmarks

    if files.mesh is not None:
        result.save(files.mesh, unit)
    if files.params is not None:
        save_face(files.params, result.saved(photo_name))
    if files.landmarks is not None:
        save_landmarks(files.landmarks, result.mesh, result.landmarks_px, unit)
    if files.overlay is not None:
        from mica_ext.render.overlay import save_picture

        save_picture(files.overlay, result.overlay(image))


class _Progress:
    """A bar for runs over many photos, on standard error; lines print above it."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._bar = None
        if shown:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # elsewhere the lines go where they should
            )
            self._task = self._bar.add_task("photos", total=total)

    def __enter__(self) -> "_Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self) -> None:
        if self._bar is not None:
            self._bar.advance(self._task)

    def say(self, text: str, *, error: bool = False) -> None:
        print(text, file=sys.stderr if error else sys.stdout)


def run_rebuild(config: RebuildConfig) -> int:
    """Write the mesh of a parameter file again."""
    from mica_ext.commands.output_plan import check_writable
    from mica_ext.export.mesh_files import SUFFIXES

    if config.out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {config.out}: expected a name ending in {' '.join(SUFFIXES)}")
    check_writable(config.out, overwrite=config.overwrite)
    from flame_assets.store import load_head
    from mica_ext.export.face_json import load_face, rebuild
    from mica_ext.reconstruct import save_mesh

    face = load_face(config.params)
    head = load_head(config.head or face.provenance.head.name)
    mesh = rebuild(face, head, config.pose)
    pose = config.pose or face.pose
    save_mesh(config.out, head, face.parameters, pose, mesh, config.unit)
    print(f"{config.params} -> {config.out}")
    return 0
