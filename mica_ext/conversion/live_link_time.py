"""Live Link Face's time codes, HH:MM:SS:FF.mmm: frames of a second and thousandths of a frame."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

RATES = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 120.0, 240.0)
"""Frames a second that time codes count in; of a recording the first beyond all its numbers."""
TIMECODE = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2})[:;](\d{1,3})(\.\d{1,6})?")
DAY_S = 86_400.0


def frame_base(fps: float) -> float:
    """The rate that time codes of a recording of `fps` frames a second count in."""
    return next((rate for rate in RATES if rate > fps - 0.1), fps)


def timecode(seconds: float, fps: float) -> str:
    """The time code of a time from the start [s], which it keeps to a thousandth of a frame."""
    whole = int(seconds + 0.0005 / fps)
    thousandths = max(round((seconds - whole) * fps * 1000), 0)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    frame, rest = divmod(thousandths, 1000)
    return f"{hour:02}:{minute:02}:{second:02}:{frame:02}.{rest:03}"


def seconds_of(timecodes: Sequence[str]) -> Float64[np.ndarray, " N"] | None:
    """Times from the first frame [s], also over midnight; None if one is none, or they go back."""
    found = [TIMECODE.fullmatch(code.strip()) for code in timecodes]
    parts = [match.groups(default=".0") for match in found if match]
    if len(parts) < len(found) or not parts:
        return None
    hours, minutes, seconds, frames, rest = np.array(parts, np.float64).T
    fps = next((rate for rate in RATES if rate > frames.max()), frames.max() + 1)
    times = 3600 * hours + 60 * minutes + seconds + (frames + rest) / fps
    times = np.unwrap(times, period=DAY_S) - times[0]
    return times if (np.diff(times) > 0).all() else None
