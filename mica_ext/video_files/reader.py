"""Frames of a video file, upright, with their real times; streamed, never all in memory."""

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from mica_ext.errors import UserError
from mica_ext.video_files.backend import load_av
from pacofr.errors import UserError as ContentError
from pacofr.images.kinds import HEAD_BYTES, image_kind, is_video_head
from pacofr.utils.bounded import open_regular

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
FORMATS = "mov,mp4,matroska,webm,avi"
"""Demuxers that are used. Playlists, which name other files, are not among them."""
MAX_SIDE = 1920
"""Longer side of the frames handed out [px]: larger ones are reduced on the way."""
MAX_PIXELS = 8192 * 8192
MAX_FRAMES = 72_000
"""40 minutes at 30 frames a second, for which a clip takes 1.6 GiB; longer ones are cut first."""
MIN_SIDE = 16
MAX_BYTES = 1 << 40
"""Of a file: it is never read as a whole."""


class VideoFrame(NamedTuple):
    """One frame."""

    image: UInt8[np.ndarray, "H W 3"]
    """RGB, upright, at most `MAX_SIDE` on its longer side."""
    time_s: float
    """From the first frame [s]."""


class VideoInfo(NamedTuple):
    """What a file says of its video; frames may say otherwise."""

    name: str
    size: tuple[int, int]
    """Width, height of the upright picture [px]."""
    frame_size: tuple[int, int]
    """The same of the frames handed out."""
    rate: float
    """Mean number of frames a second, as told; 0 if unknown."""
    frames: int
    """As told, or from duration and rate; 0 if unknown."""
    duration_s: float
    """As told; 0 if unknown."""
    rotation: int
    """Degrees counter-clockwise by which frames are turned: 0, 90, 180 or 270."""


def is_video(path: Path) -> bool:
    """Whether a file is a video by its content, or by its name where it cannot be read."""
    try:
        with open_regular(path, MAX_BYTES) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ContentError):
        return path.suffix.lower() in SUFFIXES
    if image_kind(head) is not None:
        return False
    return is_video_head(head) or path.suffix.lower() in SUFFIXES


class VideoReader:
    """Reads the first video stream of a file; iterate any number of times.

    After an iteration `damaged` tells how many packets could not be decoded, and `duration_s` the
    time of the last frame.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and decode its first frame.

        Raises:
            UserError: it cannot be read, holds no pictures, too many pixels, or PyAV is missing.
        """
        self.path = path
        self.av = load_av()
        self.damaged = 0
        self.cut_short = False
        try:
            open_regular(path, MAX_BYTES).close()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
        except ContentError as error:
            raise UserError(str(error)) from error
        with self._open() as container:
            stream = _video_stream(container, path)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise UserError(
                    f"{path}: expected a video, got none that can be decoded; is it cut short? "
                    "Record or convert it again"
                )
            self.info = _info(path, container, stream, first)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Frames in the order of their times; those that repeat a time are left out.

        Raises:
            UserError: there are more than `MAX_FRAMES`.
        """
        self.damaged, self.cut_short = 0, False
        quarters = self.info.rotation // 90
        width, height = self.info.frame_size
        if quarters % 2:
            width, height = height, width
        with self._open() as container:
            stream = _video_stream(container, self.path)
            start, last, number = None, -math.inf, 0
            for frame in self._decoded(container, stream):
                moment = _time_of(frame, number, self.info.rate)
                number += 1
                if moment <= last:
                    continue
                if number > MAX_FRAMES:
                    raise UserError(
                        f"{self.path}: expected at most {MAX_FRAMES} frames (40 minutes at 30 "
                        "a second); cut the video in parts"
                    )
                start = moment if start is None else start
                last = moment
                # to the size first: converting large frames takes longer than decoding them
                small = frame.reformat(width=width, height=height, interpolation="AREA")
                image = small.reformat(format="rgb24", interpolation="AREA").to_ndarray()
                image = np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image
                yield VideoFrame(image, moment - start)
        seen_s = 0.0 if start is None else last - start
        missing_s = self.info.duration_s - seen_s - 2 / (self.info.rate or 25.0)
        self.cut_short = missing_s > max(0.5, 0.02 * self.info.duration_s)

    def _open(self) -> "InputContainer":
        logging.getLogger("libav").setLevel(logging.CRITICAL)
        try:
            return self.av.open(
                f"file:{os.path.abspath(self.path)}",
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        except (self.av.FFmpegError, ValueError) as error:
            raise UserError(
                f"{self.path}: expected a video (mp4, mov, webm, mkv, avi), got none that can be "
                f"read; is it cut short? ({_reason(error)})"
            ) from error

    def _decoded(
        self, container: "InputContainer", stream: "VideoStream"
    ) -> Iterator["av.VideoFrame"]:
        """Frames as decoded; damaged packets are counted and left out."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except self.av.FFmpegError:
                self.damaged += 1
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except self.av.FFmpegError:
                self.damaged += 1


def _video_stream(container: "InputContainer", path: Path) -> "VideoStream":
    if not container.streams.video:
        kinds = sorted({stream.type for stream in container.streams})
        holds = f"{', '.join(kinds)} alone" if kinds else "no pictures and no sound"
        raise UserError(f"{path}: expected a video, got a file that holds {holds}")
    stream = container.streams.video[0]
    if stream.codec_context is None:  # no decoder is known for it
        raise UserError(
            f"{path}: expected a video, its pictures are coded in a way that cannot be read here; "
            "convert it to H.264 first"
        )
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{path}: expected frames of at most {MAX_PIXELS // 10**6} megapixels, got {width} x "
            f"{height}; scale the video down first"
        )
    return stream


def _info(
    path: Path, container: "InputContainer", stream: "VideoStream", first: "av.VideoFrame"
) -> VideoInfo:
    rotation = round(first.rotation / 90) * 90 % 360
    aspect = stream.sample_aspect_ratio
    stretch = float(aspect) if aspect else 1.0
    width, height = first.width, first.height
    if 0.1 < stretch < 10:
        width = max(round(width * stretch), 1)
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"{path}: expected a video of {MIN_SIDE} pixels or more, got {width} x {height}"
        )
    scale = min(MAX_SIDE / max(width, height), 1.0)
    small = max(round(width * scale), 1), max(round(height * scale), 1)
    if rotation % 180:
        (width, height), small = (height, width), (small[1], small[0])
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    duration = 0.0
    if stream.duration and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    elif container.duration:
        duration = container.duration / 1e6
    frames = stream.frames or round(duration * rate)
    return VideoInfo(path.name, (width, height), small, rate, frames, duration, rotation)


def _time_of(frame: "av.VideoFrame", number: int, rate: float) -> float:
    """Presentation time [s]; where a stream has none, frames follow at the mean rate."""
    return number / (rate or 25.0) if frame.time is None else float(frame.time)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split(":")[0]
