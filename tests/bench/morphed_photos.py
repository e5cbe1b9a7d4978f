"""Real photos as videos: a neutral and a smiling photo of a person, morphed there and back.

    python tests/bench/morphed_photos.py LONDON [--people 12] [--points student]

LONDON holds neutral_front and smiling_front of the Face Research Lab set; people of even number
are taken. Both photos are warped to the points between theirs (thin-plate splines) and blended, 30
frames to the smile and 30 back. The smile's weight has to follow: correlation with the blend, rank
correlation, how much it goes back on the way, and how far there and back differ.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.stats import spearmanr

from mica_ext.clip.clip_reconstructor import ClipReconstructor
from mica_ext.reconstruct import Reconstructor
from mica_ext.video_files.reader import VideoFrame, VideoInfo
from pacofr.images import load_image
from pacofr.utils.threads import use_one_thread_per_operation

STEPS, RATE, GRID = 30, 30.0, 8
KEPT = [*range(0, 478, 4), 13, 14, 17, 61, 291, 78, 308]
"""Points that the warps follow: every fourth, and the mouth's corners and middles."""
SMILES = ("mouthSmileLeft", "mouthSmileRight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("london", type=Path)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--points", default="student")
    options = parser.parse_args()
    use_one_thread_per_operation()
    cv2.setNumThreads(1)
    reconstructor = Reconstructor.load("auto", points=options.points)
    names = reconstructor.head.expression_names
    columns = [names.index(name) for name in SMILES]
    blend = np.r_[np.arange(STEPS + 1), np.arange(STEPS)[::-1]] / STEPS
    rows = []
    for neutral in sorted((options.london / "neutral_front").glob("*.jpg")):
        number = neutral.name[:3]
        smiling = sorted((options.london / "smiling_front").glob(f"{number}_*.jpg"))
        if int(number) % 2 or not smiling or len(rows) == options.people:
            continue
        frames = morph(reconstructor, load_image(neutral), load_image(smiling[0]))
        expression = reconstruct(reconstructor, [*frames, *frames[-2::-1]])
        smile = expression[:, columns].mean(1)
        there, back = smile[: STEPS + 1], smile[STEPS:][::-1]
        span = max(float(np.ptp(smile)), 1e-6)
        falls = [np.clip(-np.diff(part), 0, None).sum() for part in (there, back)]
        rows.append(
            {
                "person": number,
                "rise": smile[STEPS] - smile[0],
                "r": np.corrcoef(blend, smile)[0, 1],
                "rank_r": spearmanr(blend, smile)[0],
                "goes_back": np.mean(falls) / span,
                "there_and_back": np.abs(there - back).mean() / span,
            }
        )
        print(
            json.dumps({k: v if k == "person" else round(float(v), 3) for k, v in rows[-1].items()})
        )
    for name in ("rise", "r", "rank_r", "goes_back", "there_and_back"):
        values = [row[name] for row in rows]
        print(f"{name}: {min(values):.3f} / {np.median(values):.3f} / {max(values):.3f}")


def morph(reconstructor: Reconstructor, first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """`STEPS` + 1 pictures from the first photo to the second, which has its size."""
    points = []
    for image in (first, second):
        face = reconstructor.detect(image)[0]
        points.append(reconstructor.detect_points(image, face).points_px[KEPT].double().numpy())
    frames = []
    for step in range(STEPS + 1):
        share = step / STEPS
        between = (1 - share) * points[0] + share * points[1]
        one, two = (
            warp(image, source, between).astype(np.float32)
            for image, source in zip((first, second), points, strict=True)
        )
        frames.append(((1 - share) * one + share * two).clip(0, 255).astype(np.uint8))
    return frames


def warp(image: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The picture with its points `source` at `target`; its border stays."""
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(0, width, GRID), np.arange(0, height, GRID))
    right, bottom = width - 1, height - 1
    border = [[a, b] for a in (0, right / 2, right) for b in (0, bottom / 2, bottom)]
    fixed = np.array([place for place in border if place != [right / 2, bottom / 2]])
    moves = np.r_[source - target, np.zeros_like(fixed)]
    spline = RBFInterpolator(np.r_[target, fixed], moves, kernel="thin_plate_spline", smoothing=1)
    coarse = spline(np.stack([x.ravel(), y.ravel()], 1)).reshape(*x.shape, 2).astype(np.float32)
    offset = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    at = columns + offset[..., 0], rows + offset[..., 1]
    return cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def reconstruct(reconstructor: Reconstructor, frames: list[np.ndarray]) -> np.ndarray:
    """Expression of every frame."""
    height, width = frames[0].shape[:2]
    size = (width, height)
    info = VideoInfo("morph", size, size, RATE, len(frames), len(frames) / RATE, 0)
    clip = ClipReconstructor(reconstructor, info)
    for number, frame in enumerate(frames):
        clip.add(VideoFrame(frame, number / RATE))
    return clip.result().clip.parameters.head.expression.numpy()


if __name__ == "__main__":
    main()
