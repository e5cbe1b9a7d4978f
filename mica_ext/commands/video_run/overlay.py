"""The overlay video of a clip: the video is read a second time and drawn over."""

from pathlib import Path

import torch

from flame_assets.model.head_module import HeadParameters
from flame_assets.model.lbs import rotation_matrices
from mica_ext.commands.photo_run.progress import Progress
from mica_ext.commands.video_run.stopping import leave_if_asked
from mica_ext.export.clip_json import SavedClip
from mica_ext.models.pose import in_pose
from mica_ext.reconstruct import Reconstructor
from mica_ext.render.video.overlay import ClipOverlay
from mica_ext.video_files.reader import VideoReader
from mica_ext.video_files.writer import VideoWriter
from pacofr.utils.stop_request import StopRequest

BATCH = 16
"""Heads that are posed at once."""


@torch.no_grad()
def write_overlay(
    path: Path,
    clip: SavedClip,
    reconstructor: Reconstructor,
    reader: VideoReader,
    stop: StopRequest,
) -> None:
    """Write the overlay of `clip`, whose necks are straight, made from the frames of `reader`.

    Raises:
        UserError: it cannot be written.
        KeyboardInterrupt, SystemExit: a stop was asked for; the file is not whole then.
    """
    decoder, count, frames = reconstructor.decoder, len(clip.times_s), iter(reader)
    person = HeadParameters.zeros(decoder.head)._replace(shape=clip.parameters.head.shape[:1])
    rest = decoder(person).vertices[0].numpy()
    draw = ClipOverlay(decoder.head, rest, clip.video.size, reconstructor.rasterizer)
    with (
        VideoWriter(path, reader.info.rate or 25.0) as video,
        Progress(count, what="frames of the overlay") as progress,
    ):
        for start in range(0, count, BATCH):
            heads = HeadParameters(*(part[start : start + BATCH] for part in clip.parameters.head))
            straight = decoder(in_pose(heads, "expressive"))
            root = straight.joints[:, :1]
            turned = (straight.vertices - root) @ rotation_matrices(heads.global_pose).mT + root
            for row, frame in zip(range(len(turned)), frames, strict=False):
                leave_if_asked(stop)
                number = start + row
                posed = turned[row].numpy() if clip.states[number] != "held" else None
                camera = clip.parameters.select(number).camera
                picture = draw(frame.image, camera, posed, straight.vertices[row].numpy())
                video.add(picture, frame.time_s)
                progress.advance()
