"""`reconstruct`: photos in, the files of the plan out."""

import json
import sys
from typing import TYPE_CHECKING

from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.output_plan import Job, Outputs, Plan, check_writable, make_plan
from mica_ext.commands.progress import Progress
from mica_ext.commands.staging import staged_files
from mica_ext.errors import UserError, error_line

if TYPE_CHECKING:
    from mica_ext.commands.report import FaceReport
    from mica_ext.export.face_json import Pose
    from mica_ext.export.mesh_files import Unit
    from mica_ext.models.pack import Pack
    from mica_ext.reconstruct import Reconstruction, Reconstructor, RgbImage

SOME_FAILED = 3
"""Exit code of a run over several photos of which some failed."""


def reconstruct(config: ReconstructConfig) -> int:
    """Reconstruct the photos of `config` and report; the exit code.

    Raises:
        UserError: before anything is written, or for the one photo of a run over one.
    """
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
    from mica_ext.models.pack import load_pack
    from mica_ext.reconstruct import Reconstructor

    pack = load_pack(config.model)
    reconstructor = Reconstructor.load(config.model, head=config.head, device=config.device)
    records, failures = _run_jobs(reconstructor, plan, config)
    _report_run(reconstructor, pack, plan, records, failures, as_json=config.json)
    return SOME_FAILED if failures else 0


def _run_jobs(
    reconstructor: "Reconstructor", plan: Plan, config: ReconstructConfig
) -> tuple[list[dict[str, object]], list[dict[str, str]]]:
    """Work through the plan: the records of all faces, and of each photo that failed."""
    from mica_ext.commands.report import lines

    records: list[dict[str, object]] = []
    failures: list[dict[str, str]] = []
    shown = plan.many and sys.stderr is not None and sys.stderr.isatty()
    with Progress(len(plan.jobs), shown=shown) as progress:
        for job in plan.jobs:
            try:
                faces = _reconstruct_photo(reconstructor, job, config, plan.taken)
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
                records += [face.record() for face in faces]
                if not config.json:
                    progress.say(lines(faces))
            progress.advance()
    return records, failures


def _report_run(
    reconstructor: "Reconstructor",
    pack: "Pack",
    plan: Plan,
    records: list[dict[str, object]],
    failures: list[dict[str, str]],
    *,
    as_json: bool,
) -> None:
    """What was used and what failed: as JSON, or as lines."""
    used = reconstructor.provenance._asdict()
    if as_json:
        parts = {part: source._asdict() for part, source in used.items()}
        parts["model"] = {"name": pack.name, "licence": pack.licence}
        skipped = [str(photo) for photo in plan.done]
        report = {"faces": records, "failures": failures, "done_before": skipped, **parts}
        print(json.dumps(report, indent=1))
    else:
        print(f"model: {pack.name} ({pack.licence})")
        for part, source in used.items():
            print(f"{part}: {source.name} {source.version} ({source.licence})")
    if failures:
        done = len(plan.jobs) - len(failures)
        print(
            f"{done} of {len(plan.jobs)} photos reconstructed, {len(failures)} failed:",
            file=sys.stderr,
        )
        for failure in failures:
            print(f"  {failure['photo']}", file=sys.stderr)


def _reconstruct_photo(
    reconstructor: "Reconstructor", job: Job, config: ReconstructConfig, taken: frozenset[str]
) -> "list[FaceReport]":
    """Reconstruct one photo and write the files of all its faces, or none of them.

    Further faces leave the names in `taken` to others.
    """
    from mica_ext.commands.report import FaceReport
    from pacofr.images import load_image

    image = load_image(job.photo)
    which = int(config.face) if config.face.isdecimal() else config.face
    pose: Pose = "neutral" if config.neutral else "posed" if config.posed else "expressive"
    results = reconstructor.faces(image, which, pose)  # type: ignore[arg-type]
    outputs = job.outputs.of_faces(len(results), taken)
    unit = job.outputs.unit(config.unit)
    paths = [path for files in outputs for path in files.paths()]
    for path in paths:
        check_writable(path, overwrite=config.overwrite, make_folder=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    with staged_files(paths) as staged:
        for files, result in zip(outputs, results, strict=True):
            _write_face(files.staged(staged), image, result, unit, job.photo.name)
    return [
        FaceReport(job.photo, result, files.paths(), unit, config.face)
        for files, result in zip(outputs, results, strict=True)
    ]


def _write_face(
    files: Outputs, image: "RgbImage", result: "Reconstruction", unit: "Unit", photo_name: str
) -> None:
    """Write the files that are asked for of one face."""
    from mica_ext.export.face_json import save_face, save_landmarks

    if files.mesh is not None:
        result.save(files.mesh, unit)
    if files.params is not None:
        save_face(files.params, result.to_saved_face(photo_name))
    if files.landmarks is not None:
        save_landmarks(files.landmarks, result.mesh, result.landmarks_px, unit)
    if files.overlay is not None:
        from mica_ext.render.overlay import save_picture

        save_picture(files.overlay, result.overlay(image))
