"""Figures of `reconstruct VIDEO` on clips of `mica-ext synth-video`, whose truth is known.

    python tests/bench/video.py CLIP.mp4 ... [--points student]

Every clip needs its .truth.json beside it. Per clip: correlation of the weights that move,
jitter while nothing moves and against the truth while it does, lag, blinks and lip closures kept,
gaze, head pose, frames a second and core, peak memory.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.clip.clip_reconstructor import ClipReconstructor
from mica_ext.export.clip_json import SavedClip, load_clip
from mica_ext.reconstruct import Reconstructor
from mica_ext.video_files.reader import VideoReader
from pacofr.utils.threads import use_one_thread_per_operation

MOVES = 0.03
"""Standard deviation of a weight's truth from which on it counts as moving."""
STILL = slice(4, 27)
"""Frames of a clip of 30 frames a second in which nothing moves."""
MAX_LAG = 4
UPPER, LOWER = [61, 62, 63], [67, 66, 65]
"""IBUG landmarks of the inner lips."""
CLOSED_MM, MET_MM = 0.6, 1.2
"""Lips less apart than this are closed in truth, and count as kept closed in the estimate."""


class ClipFigures(NamedTuple):
    """Of one clip."""

    r_median: float
    r_mean: float
    jitter_still: float
    """Mean over weights of the noise of second differences while nothing moves, in 1e-3."""
    jitter_moving: float
    """The same of the error, while the face moves."""
    pose_jitter_degrees: float
    lag_frames: float
    """Of the jaw, by cross-correlation with a parabola through its peak; positive: late."""
    blinks: int
    blinks_kept: float
    """Peak of the estimate over that of the truth."""
    closures: int
    closures_kept: float
    """Share of closed lips of the truth that meet."""
    gaze_r: float
    pose_error_degrees: float
    """Root mean square, without the mean."""


def figures(truth: SavedClip, found: SavedClip, decoder: HeadDecoder) -> ClipFigures:
    """Compare two clips of the same frames and expression names."""
    names = list(truth.expression_names)
    count = min(len(truth.times_s), len(found.times_s))
    T = truth.parameters.head.expression[:count].double().numpy()
    E = found.parameters.head.expression[:count].double().numpy()
    moving = np.flatnonzero(T.std(0) > MOVES)
    r = np.array([correlation(T[:, k], E[:, k]) for k in moving])
    true_turn, turn = (
        clip.parameters.head.global_pose[:count].double().numpy() for clip in (truth, found)
    )
    error = turn - true_turn
    blink = names.index("eyeBlinkLeft")
    peaks = [
        k
        for k in range(1, count - 1)
        if T[k, blink] > 0.6 and T[k, blink] >= T[k - 1, blink] and T[k, blink] > T[k + 1, blink]
    ]
    kept = [E[k - 1 : k + 2, blink].max() / T[k, blink] for k in peaks]
    true_gap, gap = (lip_gaps_mm(clip.parameters.head, decoder, count) for clip in (truth, found))
    closed, met = true_gap < CLOSED_MM, gap < MET_MM
    closed[: STILL.stop] = False
    eyes = [
        clip.parameters.head.left_eye_pose[:count, 1].double().numpy() for clip in (truth, found)
    ]
    return ClipFigures(
        r_median=float(np.median(r)),
        r_mean=float(r.mean()),
        jitter_still=1e3 * float(jitter(E[STILL]).mean()),
        jitter_moving=1e3 * float(jitter((E - T)[STILL.stop :]).mean()),
        pose_jitter_degrees=float(np.degrees(jitter(turn[STILL])).mean()),
        lag_frames=lag(T[:, names.index("jawOpen")], E[:, names.index("jawOpen")]),
        blinks=len(peaks),
        blinks_kept=float(np.mean(kept)) if kept else float("nan"),
        closures=int(closed.sum()),
        closures_kept=float(met[closed].mean()) if closed.any() else float("nan"),
        gaze_r=correlation(*eyes),
        pose_error_degrees=float(
            np.degrees(np.sqrt(np.square(error - error.mean(0)).sum(1).mean()))
        ),
    )


def jitter(values: np.ndarray) -> np.ndarray:
    """Standard deviation of white noise with the same second differences, by column."""
    return np.diff(values, 2, axis=0).std(0) / np.sqrt(6)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 for a constant."""
    if min(first.std(), second.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def lag(truth: np.ndarray, found: np.ndarray) -> float:
    """Frames by which `found` is late."""
    count, shifts = len(truth), range(-MAX_LAG, MAX_LAG + 1)
    scores = np.array(
        [
            correlation(
                truth[max(0, -k) : count - max(0, k)], found[max(0, k) : count - max(0, -k)]
            )
            for k in shifts
        ]
    )
    best = int(scores.argmax())
    if best in (0, len(scores) - 1):
        return float(shifts[best])
    before, peak, after = scores[best - 1 : best + 2]
    return shifts[best] + 0.5 * (before - after) / (before - 2 * peak + after)


@torch.no_grad()
def lip_gaps_mm(heads: HeadParameters, decoder: HeadDecoder, count: int) -> np.ndarray:
    """Distance of the inner lips in the middle of the mouth, beyond that at rest [mm]."""
    small, gaps = decoder.landmark_head(), []
    rest = HeadParameters.zeros(decoder.head)._replace(shape=heads.shape[:1])
    points = small(rest).landmarks
    at_rest = (points[:, UPPER] - points[:, LOWER])[..., 1].mean()
    for start in range(0, count, 64):
        rows = slice(start, min(start + 64, count))
        straight = HeadParameters(*(part[rows] for part in heads))
        straight = straight._replace(global_pose=torch.zeros_like(straight.global_pose))
        points = small(straight).landmarks
        gaps.append((points[:, UPPER] - points[:, LOWER])[..., 1].mean(1) - at_rest)
    return 1000 * torch.cat(gaps).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--points", default="student")
    options = parser.parse_args()
    use_one_thread_per_operation()
    reconstructor = Reconstructor.load("auto", points=options.points)
    for path in options.clips:
        reader = VideoReader(path)
        clip = ClipReconstructor(reconstructor, reader.info)
        began = time.process_time()
        for frame in reader:
            clip.add(frame)
        found = clip.result().clip
        rate = len(found.times_s) / (time.process_time() - began)
        line: dict[str, object] = {"clip": path.name, "size": found.video.size}
        truth = path.with_suffix(".truth.json")
        if truth.exists():
            own = figures(load_clip(truth), found, reconstructor.decoder)
            line |= {name: round(value, 3) for name, value in own._asdict().items()}
        line["frames_per_core_second"] = round(rate, 1)
        line["peak_MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
