"""`reconstruct` of a video: track, fit, smooth, and write all files or none."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.photo_run.progress import Progress
from mica_ext.commands.photo_run.staging import remove_abandoned, staged_files
from mica_ext.commands.video_run.plan import VideoPlan, plan_video
from mica_ext.commands.video_run.stopping import leave_if_asked
from mica_ext.errors import UserError, exit_on_interrupt, printable
from mica_ext.viewer.display import open_page
from pacofr.utils.stop_request import StopRequest

if TYPE_CHECKING:
    from mica_ext.clip.clip_reconstructor import ClipResult
    from mica_ext.reconstruct import Reconstructor
    from mica_ext.video_files.reader import VideoReader


def reconstruct_video(config: ReconstructConfig, video: Path) -> int:
    """Reconstruct the face of a video and report; the exit code.

    Raises:
        UserError: it cannot be read, shows no face, or a file cannot be written.
    """
    plan = plan_video(config, video)
    with exit_on_interrupt():  # nothing is written yet
        from mica_ext.clip.clip_reconstructor import ClipReconstructor
        from mica_ext.reconstruct import Reconstructor
        from mica_ext.video_files.reader import VideoReader

        reader = VideoReader(video)
        reconstructor = Reconstructor.load(
            config.model,
            head=config.head,
            device=config.device,
            identity=config.identity,
            points=config.points,
            detector=config.detector,
        )
        began = time.process_time()
        chosen = config.chosen_face
        clip = ClipReconstructor(
            reconstructor,
            reader.info,
            int(chosen) if chosen.isdecimal() else chosen,  # type: ignore[arg-type]
            config.min_face,
        )
        with Progress(max(reader.info.frames, 2), what="frames") as progress:
            for frame in reader:
                clip.add(frame)
                progress.advance()
        result = clip.result(damaged=reader.damaged, cut_short=reader.cut_short)
        spent_s = time.process_time() - began
    if result.clip.quality.verdict == "rejected" and not config.keep_unsure:
        reasons = "; ".join(result.clip.quality.reasons)
        raise UserError(f"{video}: {reasons}; --keep-unsure writes it all the same")
    with StopRequest() as stop:
        _write(plan, result, reconstructor, reader, stop)
    _report(config, plan, result, spent_s)
    if plan.view is not None and not config.no_open and not open_page(plan.view):
        print(f"open {plan.view} in a browser", file=sys.stderr)
    return 0


def _write(
    plan: VideoPlan,
    result: "ClipResult",
    reconstructor: "Reconstructor",
    reader: "VideoReader",
    stop: StopRequest,
) -> None:
    """Write the files of the plan, all or none.

    Raises:
        UserError: one cannot be written.
        KeyboardInterrupt, SystemExit: a stop was asked for.
    """
    from mica_ext.commands.video_run.overlay import write_overlay
    from mica_ext.conversion.clip_csv import save_clip_csv
    from mica_ext.export.clip_gltf import save_clip_glb
    from mica_ext.export.clip_json import save_clip
    from mica_ext.files import write_bytes_atomic
    from mica_ext.viewer.clip_page import clip_scene
    from mica_ext.viewer.face_page import face_page

    clip, paths = result.clip, plan.paths()
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
    with staged_files(paths) as staged:
        if plan.params is not None:
            save_clip(staged[plan.params], clip)
        if plan.csv is not None:
            save_clip_csv(staged[plan.csv], clip, reconstructor.head)
        if plan.view is not None:
            page = face_page(clip_scene(reconstructor.decoder, clip))
            write_bytes_atomic(staged[plan.view], page)
        if plan.glb is not None:
            save_clip_glb(staged[plan.glb], clip, reconstructor.decoder)
        leave_if_asked(stop)
        if plan.overlay is not None:
            write_overlay(staged[plan.overlay], clip, reconstructor, reader, stop)
        leave_if_asked(stop)


def _report(
    config: ReconstructConfig, plan: VideoPlan, result: "ClipResult", spent_s: float
) -> None:
    """Say what was found and written: as JSON, or as lines."""
    clip = result.clip
    count, quality = len(clip.times_s), clip.quality
    if config.json:
        content = {
            "video": str(plan.video),
            "frames": count,
            "seconds": round(float(clip.times_s[-1]), 3),
            "size": clip.video.size,
            "held": result.held,
            "unsure": clip.states.count("unsure"),
            "cuts": [round(float(clip.times_s[first]), 3) for first, _ in clip.shots[1:]],
            "faces_found": result.faces_found,
            "chosen": config.chosen_face,
            "identity_frames": result.identity_frames,
            "frames_per_core_second": round(count / spent_s, 1),
            "quality": quality.verdict,
            "reasons": list(quality.reasons),
            "files": [str(path) for path in plan.paths()],
        }
        print(json.dumps(content, indent=1))
        return
    lines = []
    if result.faces_found > 1:
        took = {"largest": "the largest", "center": "the one nearest to the middle"}
        which = took.get(config.chosen_face, f"number {config.chosen_face}")
        lines.append(
            f"{result.faces_found} faces found, followed {which}; --face center|N for others"
        )
    if len(clip.shots) > 1:
        moments = ", ".join(f"{clip.times_s[first]:.2f}" for first, _ in clip.shots[1:6])
        more = ", ..." if len(clip.shots) > 6 else ""
        lines.append(f"{len(clip.shots) - 1} cuts, at {moments}{more} s")
    files = ", ".join(map(str, plan.paths()))
    lines.append(
        f"{count} frames of {clip.video.size[0]} x {clip.video.size[1]}, {count - result.held} of "
        f"them with the face, one identity from {result.identity_frames} -> {files}"
    )
    lines += quality.reasons
    if config.verbose:
        lines.append(f"{count / spent_s:.1f} frames a second and core, without the overlay")
        for key, source in clip.provenance._asdict().items():
            if source is not None:
                words = [word for word in source if word != source.licence]
                lines.append(f"{key}: {' '.join(words)} ({source.licence})")
    print("\n".join(printable(f"{plan.video}: {line}") for line in lines))
