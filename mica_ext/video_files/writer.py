"""Frames into a video file, at their real times."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from mica_ext.errors import UserError
from mica_ext.video_files.backend import load_av

SUFFIXES = (".mp4", ".mov", ".webm")
ENCODERS = {
    ".mp4": ("libx264", "mpeg4"),
    ".mov": ("libx264", "mpeg4"),
    ".webm": ("libvpx-vp9", "libvpx"),
}
"""By suffix; the first that PyAV was built with."""
OPTIONS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "mpeg4": {"qscale": "3"},
    "libvpx-vp9": {"crf": "30", "b": "0", "cpu-used": "8", "deadline": "realtime"},
    "libvpx": {"crf": "20", "b": "4M", "cpu-used": "8", "deadline": "realtime"},
}
TIME_BASE = Fraction(1, 90_000)
MAX_RATE = 240.0
"""Frames a second that encoders are told at most; frames keep their own times."""


class VideoWriter:
    """Context manager that encodes RGB frames of one size; the file is whole when it ends."""

    def __init__(self, path: Path, rate: float, *, rotation: int = 0, threads: int = 1) -> None:
        """Start a file; its format goes by the suffix.

        Args:
            path: of the file.
            rate: usual number of frames a second.
            rotation: degrees counter-clockwise by which players turn the frames, 0 for none.
            threads: of the encoder.

        Raises:
            UserError: PyAV is missing or has no encoder for the suffix.
        """
        self.path, self.rotation, self.threads = path, rotation, threads
        self.rate = Fraction(min(max(rate, 1.0), MAX_RATE)).limit_denominator(1001)
        self.av = load_av()
        names = ENCODERS[path.suffix.lower()]
        usable = [name for name in names if name in self.av.codecs_available]
        if not usable:
            raise UserError(f"{path}: this PyAV cannot write {path.suffix} ({' or '.join(names)})")
        self.codec = usable[0]
        self.container: Any = None
        self.stream: Any = None

    def __enter__(self) -> "VideoWriter":
        try:
            self.container = self.av.open(str(self.path), "w")
        except self.av.FFmpegError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        return self

    def add(self, image: UInt8[np.ndarray, "H W 3"], time_s: float) -> None:
        """Append a frame; an odd last row or column is doubled, as encoders want even sides.

        Raises:
            UserError: it cannot be written.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self.stream is None:
            self._start(image.shape[1], image.shape[0])
        frame = self.av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = round(time_s / TIME_BASE), TIME_BASE
        self._write(frame)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.stream is not None:
                self._write(None)
        finally:
            try:
                self.container.close()
            except self.av.FFmpegError as failure:
                if kind is None:
                    reason = failure.strerror
                    raise UserError(f"{self.path}: cannot be written ({reason})") from failure

    def _start(self, width: int, height: int) -> None:
        stream = self.container.add_stream(self.codec, rate=self.rate, options=OPTIONS[self.codec])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.thread_count = self.threads
        if self.rotation:
            stream.set_display_rotation(self.rotation)
        self.stream = stream

    def _write(self, frame: object) -> None:
        try:
            self.container.mux(self.stream.encode(frame))
        except self.av.FFmpegError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
