"""`reconstruct`: photos, or a video, in, the files of the plan out."""

import json
import signal
import sys
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.photo_run.output_plan import Job, Plan, make_plan
from mica_ext.commands.photo_run.outputs import Outputs, check_writable
from mica_ext.commands.photo_run.photo_list import skipped_line
from mica_ext.commands.photo_run.progress import Progress
from mica_ext.commands.photo_run.reuse import FolderRecords, Selection, select_jobs
from mica_ext.commands.photo_run.run_record import PhotoIdentity, Settings
from mica_ext.commands.photo_run.same_person import merge_jobs
from mica_ext.commands.photo_run.staging import remove_abandoned, staged_files
from mica_ext.commands.video_run.plan import video_among
from mica_ext.commands.video_run.run import reconstruct_video
from mica_ext.errors import UserError, error_line, exit_on_interrupt, printable
from mica_ext.viewer.display import check_window, open_page
from pacofr.utils.ordered_map import ordered_map
from pacofr.utils.stop_request import StopRequest
from pacofr.utils.threads import available_cores

if TYPE_CHECKING:
    from mica_ext.commands.photo_run.report import PhotoReport
    from mica_ext.export.mesh_files import Unit
    from mica_ext.identity.same_person import PersonIdentity
    from mica_ext.models.pose import Pose
    from mica_ext.preprocess.given_face import GivenFace
    from mica_ext.reconstruct import Reconstructor
    from mica_ext.reconstruction import Reconstruction, RgbImage
    from mica_ext.render.textured import TexturedMesh

SOME_FAILED = 3
"""Exit code of a run over several photos of which some failed."""
MAX_DEFAULT_THREADS = 4
"""More gain little: a third of the work holds the interpreter lock, and each holds a photo."""


def reconstruct(config: ReconstructConfig) -> int:
    """Reconstruct the photos of `config` and report; the exit code.

    Raises:
        UserError: before anything is written, or for the one photo of a run over one.
    """
    if (video := video_among(config.photos)) is not None:
        return reconstruct_video(config, video)
    plan = make_plan(config)
    if config.view == "window":
        check_window()
    if plan.skipped:
        print(skipped_line(plan.skipped), file=sys.stderr)
    with exit_on_interrupt():
        image = None if plan.many else _load_photo(plan.jobs[0])  # before the slower networks
        import mica_ext.render.overlay  # noqa: F401
        from mica_ext.reconstruct import Reconstructor

        reconstructor = Reconstructor.load(
            config.model,
            head=config.head,
            device=config.device,
            identity=config.identity,
            points=config.points,
            detector=config.detector,
            fit=config.fit,
        )
    person = merge_jobs(config, plan.jobs, reconstructor)
    run = Run(config, plan, reconstructor, FolderRecords(), person)
    selection = run.select()
    report = run.work(selection.pending, image)
    run.report(selection, report)
    if config.view and not plan.many:
        run.show()
    return SOME_FAILED if report.failures else 0


class ReconstructedPhoto(NamedTuple):
    """The faces of one photo, not yet written."""

    image: "RgbImage"
    identity: PhotoIdentity
    faces: "list[Reconstruction]"
    textures: "list[TexturedMesh | None]"
    """Of the faces, where files need them."""


class RunReport(NamedTuple):
    """What became of the photos of a run."""

    records: list[dict[str, object]]
    """Of all faces."""
    failures: list[dict[str, str]]


class Run:
    """One run: what was asked for, the models, and what is known of earlier runs."""

    def __init__(
        self,
        config: ReconstructConfig,
        plan: Plan,
        reconstructor: "Reconstructor",
        records: FolderRecords,
        person: "PersonIdentity | None" = None,
    ) -> None:
        self.config, self.plan, self.reconstructor = config, plan, reconstructor
        self.records = records
        self.person = person
        self.shown: tuple[Reconstruction, TexturedMesh | None] | None = None
        """The first face of a run over one photo, for a window."""
        self.pose: Pose = "neutral" if config.neutral else "posed" if config.posed else "expressive"

    def select(self) -> Selection:
        """The photos to do, and those that an earlier run did with the same settings."""
        jobs = self.plan.jobs
        if not self.plan.many or self.config.overwrite:
            return Selection(jobs, (), 0)
        selection = select_jobs(jobs, self.settings(jobs[0]), self.records)
        if selection.done:
            unknown = selection.unrecorded
            unrecorded = f" ({unknown} of them with unknown settings)" if unknown else ""
            print(
                f"{len(selection.done)} of {len(jobs)} photos are done already{unrecorded}; "
                "--overwrite does them anew",
                file=sys.stderr,
            )
        return selection

    def settings(self, job: Job) -> Settings:
        """Everything that decides what the files of a photo hold."""
        made_with = self.reconstructor.provenance
        settings = {
            "pose": self.pose,
            "unit": job.outputs.unit(self.config.unit),
            "face": self.config.chosen_face,
            "min-face": str(self.config.min_face or "default"),
            "keep-unsure": str(self.config.keep_unsure).lower(),
            "head": f"{made_with.head.name} {made_with.head.version}",
            "head geometry": self.reconstructor.head_geometry,
            "weights": f"{made_with.weights.name} {made_with.weights.version}",
            "detector": f"{made_with.detector.name} {made_with.detector.version}",
        }
        for option in ("bbox", "landmarks5", "aligned"):
            if value := getattr(self.config, option):
                settings[option] = str(value)
        if made_with.expression is not None:
            settings["expression"] = f"{made_with.expression.name} {made_with.expression.version}"
        if self.config.fit != "full":
            settings["fit"] = self.config.fit
        if made_with.identity is not None:
            settings["identity"] = f"{made_with.identity.name} {made_with.identity.version}"
        if self.person is not None:
            photos = " ".join(sorted(other.name for other in self.plan.jobs))
            settings["same-person"] = sha256(photos.encode()).hexdigest()[:12]
        if job.outputs.view is not None:
            settings["view"] = "page"
        if job.outputs.overlay is not None:
            points = " with points" if self.config.overlay_points else ""
            settings["overlay"] = self.config.overlay_style + points
        if self._needs_texture(job):
            settings["texture"] = "of the photo"
        if self.config.solid:
            settings["closed"] = "for printing"
        return settings

    def work(self, jobs: tuple[Job, ...], image: "RgbImage | None") -> RunReport:
        """Reconstruct photo after photo; `image` is that of the only one, if it is read already."""
        report = RunReport([], [])
        for folder in {path.parent for job in jobs for path in job.outputs.paths()}:
            remove_abandoned(folder)
        default = min(available_cores(), MAX_DEFAULT_THREADS)
        threads = min(self.config.threads or default, max(len(jobs), 1))
        results = ordered_map(lambda job: self._reconstruct(job, image), jobs, threads)
        with Progress(len(jobs)) as progress, closing(results):
            for job in jobs:
                with exit_on_interrupt():  # nothing is half-written here
                    result = next(results)
                try:
                    with StopRequest() as stop:  # a photo's files are written whole
                        done = self._write(job, result.result())
                except BrokenPipeError:
                    raise
                except Exception as error:
                    line = _line_about(job, error)
                    if line is None:
                        raise
                    if not self.plan.many:
                        raise UserError(line) from error
                    report.failures.append({"photo": str(job.photo), "error": line})
                    progress.say(f"error: {line}", error=True)
                else:
                    report.records.extend(done.records())
                    if not self.config.json:
                        progress.say(done.lines())
                progress.advance()
                if stop.signal == signal.SIGINT:
                    raise KeyboardInterrupt
                if stop.signal is not None:
                    sys.exit(stop.exit_code)
        return report

    def _reconstruct(self, job: Job, image: "RgbImage | None") -> ReconstructedPhoto:
        """The faces of one photo, before anything is written; runs beside other photos."""
        image = _load_photo(job) if image is None else image
        identity = PhotoIdentity.of(job.photo, job.name)
        which = (
            int(self.config.chosen_face)
            if self.config.chosen_face.isdecimal()
            else self.config.chosen_face
        )
        faces = self.reconstructor.faces(
            image,
            which,  # type: ignore[arg-type]
            self.pose,
            min_face=self.config.min_face,
            person=self.person,
            given=_given_face(self.config, image),
        )
        textured = self._needs_texture(job)
        textures = [
            face.texture(image) if textured and self._is_kept(face) else None for face in faces
        ]
        return ReconstructedPhoto(image, identity, faces, textures)

    def _needs_texture(self, job: Job) -> bool:
        """Whether a file of the job shows or holds the photo as a texture."""
        files, has_uv = job.outputs, self.reconstructor.head.uv is not None
        in_mesh = files.mesh is not None and files.mesh.suffix.lower() == ".glb" and has_uv
        in_overlay = files.overlay is not None and self.config.overlay_style == "textured"
        in_view = self.config.view is not None and has_uv
        return self.config.texture or in_mesh or in_overlay or in_view

    def _is_kept(self, face: "Reconstruction") -> bool:
        return self.config.keep_unsure or face.quality.verdict != "rejected"

    def _write(self, job: Job, photo: ReconstructedPhoto) -> "PhotoReport":
        """Write the files of all faces of a photo, or none of them.

        Raises:
            UserError: if all faces are rejected, or a file cannot be written.
        """
        from mica_ext.commands.photo_run.report import FaceReport, PhotoReport

        config = self.config
        pairs = zip(photo.faces, photo.textures, strict=True)
        kept = [pair for pair in pairs if self._is_kept(pair[0])]
        rejected = [face for face in photo.faces if not self._is_kept(face)]
        if not kept:
            reasons = "; ".join(rejected[0].quality.reasons)
            raise UserError(f"{reasons}; --keep-unsure writes it all the same")
        self.shown = kept[0]
        outputs = job.outputs.of_faces(len(kept), self.plan.taken)
        unit = job.outputs.unit(config.unit)
        paths = [path for files in outputs for path in files.paths()]
        for path in paths:
            check_writable(path, overwrite=config.overwrite or self.records.interrupted(path))
            path.parent.mkdir(parents=True, exist_ok=True)
        create = self.plan.in_folders
        with staged_files(paths) as staged:
            for files, (face, texture) in zip(outputs, kept, strict=True):
                files = files.staged(staged)
                _write_face(files, photo.image, face, texture, unit, job.photo.name, config)
            self.records.start(paths, create=create)
        self.records.finish(paths, photo.identity, self.settings(job), create=create)
        faces = [
            FaceReport(face, files.paths()) for files, (face, _) in zip(outputs, kept, strict=True)
        ]
        return PhotoReport(job.photo, faces, rejected, unit, config.chosen_face)

    def show(self) -> None:
        """Open the page of the one photo's first face, or its window until it is closed."""
        (job,) = self.plan.jobs
        if job.outputs.view is not None:
            if not self.config.no_open and not open_page(job.outputs.view):
                print(f"open {job.outputs.view} in a browser", file=sys.stderr)
        elif self.shown is not None:
            from mica_ext.export.surface import surface_of
            from mica_ext.viewer.window import show_window

            face, texture = self.shown
            picture = None if texture is None else texture.picture
            surface = surface_of(face.head, face.mesh.vertices[0].numpy(), picture)
            show_window(surface, job.photo.name)

    def report(self, selection: Selection, report: RunReport) -> None:
        """What was used and what failed: as JSON, or as lines."""
        sources = self.reconstructor.provenance._asdict()
        made_with = {key: source for key, source in sources.items() if source is not None}
        if self.config.json:
            content = {
                "faces": report.records,
                "failures": report.failures,
                "done_before": [str(job.photo) for job in selection.done],
                "skipped": [skipped._asdict() for skipped in self.plan.skipped],
                **{key: source._asdict() for key, source in made_with.items()},
            }
            print(json.dumps(content, indent=1))
        elif self.config.verbose:
            for key, source in made_with.items():
                words = [word for word in source if word != source.licence]
                print(printable(f"{key}: {' '.join(words)} ({source.licence})"))
        if report.failures:
            asked, failed = len(selection.pending), len(report.failures)
            print(
                f"{asked - failed} of {asked} photos reconstructed, {failed} failed:",
                file=sys.stderr,
            )
            for failure in report.failures:
                print(f"  {printable(failure['photo'])}", file=sys.stderr)


def _given_face(config: ReconstructConfig, image: "RgbImage") -> "GivenFace | None":
    """The face that the options name; None: it is to be detected."""
    from mica_ext.preprocess import given_face

    if config.bbox is not None:
        given, flag = given_face.face_in_box(config.bbox), "--bbox"
    elif config.landmarks5 is not None:
        given, flag = given_face.face_at_points(config.landmarks5), "--landmarks5"
    else:
        return given_face.aligned_face(image) if config.aligned else None
    given_face.require_in_photo(given, image, flag)
    return given


def _load_photo(job: Job) -> "RgbImage":
    from pacofr.images import load_image

    return load_image(job.photo)


def _line_about(job: Job, error: Exception) -> str | None:
    """The error of one photo for people, with its name; None if it is a bug."""
    line = error_line(error)
    if line is None or str(job.photo) in line:
        return line
    return f"{job.photo}: {line}"


def _write_face(
    files: Outputs,
    image: "RgbImage",
    result: "Reconstruction",
    texture: "TexturedMesh | None",
    unit: "Unit",
    photo_name: str,
    config: ReconstructConfig,
) -> None:
    """Write the files that are asked for of one face."""
    from mica_ext.export.face_json import save_face
    from mica_ext.export.landmarks_json import save_landmarks

    if files.mesh is not None:
        result.save(files.mesh, unit, texture=texture, solid=config.solid)
    if files.params is not None:
        save_face(files.params, result.to_saved_face(photo_name))
    if files.landmarks is not None:
        points = result.landmarks_px, result.points_px
        save_landmarks(files.landmarks, result.mesh, *points, unit)
    if files.view is not None:
        result.save_view(files.view, image, photo_name, texture=texture)
    if files.overlay is not None:
        from mica_ext.render.pictures import save_picture

        picture = result.overlay(
            image, config.overlay_style, texture=texture, points=config.overlay_points
        )
        save_picture(files.overlay, picture)
