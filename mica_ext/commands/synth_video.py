"""`mica-ext synth-video`: a video of a rendered head, and the truth about every frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from flame_assets.arkit import ArkitPose, arkit
from flame_assets.model.fingerprint import fingerprint
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadParameters
from flame_assets.store import load_head
from mica_ext.commands.photo_run.outputs import check_writable
from mica_ext.commands.photo_run.staging import staged_files
from mica_ext.conversion.arkit_files import read_live_link, write_arkit_motion
from mica_ext.conversion.live_link_angles import live_link_angles, rotation_vectors
from mica_ext.conversion.motion import ARKIT_NAMES, ArkitMotion
from mica_ext.data.synthetic.config import SynthVideoConfig
from mica_ext.data.synthetic.filmed_head import FilmedHead, Scene
from mica_ext.data.synthetic.speech import speak
from mica_ext.errors import UserError
from mica_ext.export.clip_json import SavedClip, Smoothing, VideoEntry, save_clip
from mica_ext.export.face_json import Provenance, Source
from mica_ext.models.quality import Quality
from mica_ext.models.types import Camera, FaceParameters
from mica_ext.video_files.writer import SUFFIXES, VideoWriter
from pacofr.utils.progress import track

NOTHING = Source("rendered", "1", "none needed")
"""What stands for the detector and the weights of a photo."""


class Performance(NamedTuple):
    """What a head does over time."""

    times_s: Float64[np.ndarray, " N"]
    weights: Float64[np.ndarray, "N 52"]
    """In the order of `ARKIT_NAMES`."""
    head: Float64[np.ndarray, "N 3"]
    """Rotation vector [rad]."""
    translation: Float64[np.ndarray, "N 3"]
    """From where it starts [m]."""


def synth_video(config: SynthVideoConfig) -> None:
    """Write the video and its truth, all or nothing.

    Raises:
        UserError: a file exists or cannot be read or written, or the head has no ARKit expressions.
    """
    if config.out.suffix.lower() not in SUFFIXES:
        raise UserError(f"{config.out}: expected a name ending in {' '.join(SUFFIXES)}")
    truth = [config.out.with_suffix(suffix) for suffix in (".truth.json", ".truth.csv")]
    paths = [config.out, *truth]
    for path in paths:
        check_writable(path, overwrite=config.overwrite)
    frames = max(round(config.seconds * config.fps), 1)
    times = np.arange(frames) / config.fps
    played = (
        _spoken(config.seed, times) if config.motion is None else _recorded(config.motion, times)
    )
    head = load_head(config.head)
    if head.expression_convention != "arkit":
        raise UserError(
            f"--head {config.head}: expected a head with ARKit's expressions: anthro, ict"
        )
    width, height = config.size
    filmed = FilmedHead(head, seed=config.seed, width=width, height=height)
    parameters = parameters_of(played, head, filmed.scene)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with staged_files(paths) as staged:
        with VideoWriter(staged[config.out], config.fps) as video:
            for number in track(range(len(played.times_s)), "frames"):
                one = parameters.select(number)
                video.add(filmed.frame(one.head, one.camera, number), float(played.times_s[number]))
        save_clip(staged[truth[0]], _clip(config, played, parameters, head))
        _write_csv(staged[truth[1]], played, parameters, config.fps)
    print(f"{len(played.times_s)} frames of {config.size[0]} x {config.size[1]} -> {config.out}")


def parameters_of(played: Performance, head: HeadModel, scene: Scene) -> FaceParameters:
    """Every frame's head and camera."""
    poses = [
        arkit(dict(zip(ARKIT_NAMES, row, strict=True)), head.expression_names)
        for row in played.weights
    ]
    count = len(poses)
    rows = ArkitPose(*(np.stack(part) for part in zip(*poses, strict=True)))
    expression, jaw, left, right = (torch.from_numpy(part).float() for part in rows)
    turned = torch.from_numpy(played.head).float()
    parts = (scene.shape.expand(count, -1), expression, turned, torch.zeros_like(turned))
    moved = torch.from_numpy(played.translation).float()
    camera = Camera(
        scene.camera.focal_px.expand(count),
        scene.camera.centre_px.expand(count, -1),
        scene.camera.translation + moved,
    )
    return FaceParameters(HeadParameters(*parts, jaw, left, right), camera)


def _spoken(seed: int, times: Float64[np.ndarray, " N"]) -> Performance:
    speech = speak(seed, times)
    tongue = np.zeros((len(times), 1))
    weights = np.concatenate([speech.weights, tongue], 1)
    return Performance(times, weights, speech.head, speech.translation)


def _recorded(path: Path, times: Float64[np.ndarray, " N"]) -> Performance:
    """A recording at these times, as far as it goes."""
    motion = read_live_link(path)
    moments = motion.times_s
    if moments is None:
        raise UserError(f"{path}: expected the column Timecode with increasing HH:MM:SS:FF.mmm")
    times = times[times <= moments[-1]]

    def played(values: Float64[np.ndarray, "N K"]) -> Float64[np.ndarray, "M K"]:
        return np.stack([np.interp(times, moments, column) for column in values.T], 1)

    still = np.zeros((len(moments), 3))
    head = still if motion.angles is None else rotation_vectors(motion.angles)[0]
    return Performance(times, played(motion.weights), played(head), np.zeros((len(times), 3)))


def _clip(
    config: SynthVideoConfig, played: Performance, parameters: FaceParameters, head: HeadModel
) -> SavedClip:
    count = len(played.times_s)
    made_with = Source(head.name, head.version, head.licence)
    return SavedClip(
        parameters=parameters,
        times_s=played.times_s,
        states=("tracked",) * count,
        confidence=np.ones(count),
        shots=((0, count),),
        expression_names=head.expression_names,
        video=VideoEntry(config.out.name, config.size),
        smoothing=Smoothing("none: the truth", 0.0, 0.0),
        quality=Quality("accepted", ()),
        provenance=Provenance(made_with, NOTHING, NOTHING),
        fingerprint=fingerprint(head),
    )


def _write_csv(path: Path, played: Performance, truth: FaceParameters, fps: float) -> None:
    turns: Sequence[Float64[np.ndarray, "N 3"]] = [
        part.double().numpy()
        for part in (truth.head.global_pose, truth.head.left_eye_pose, truth.head.right_eye_pose)
    ]
    motion = ArkitMotion(played.weights, angles=live_link_angles(*turns), times_s=played.times_s)
    write_arkit_motion(path, motion, fps)
