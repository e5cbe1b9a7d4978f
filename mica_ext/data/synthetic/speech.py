"""A procedural speaker: jaw, lips, blinks, brows, gaze and head turns over time, by seed.

Speech is a row of syllables, each a consonant (of which some close the lips) and a vowel, in
phrases with pauses. Amplitudes and durations are those of Live Link Face recordings: syllables of
0.15 to 0.3 s, blinks of 0.12 to 0.25 s every few seconds, gaze that jumps and rests.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.interpolate import PchipInterpolator

from flame_assets.arkit import EXPRESSIONS

VOWELS: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.45, "mouthLowerDown": 0.25, "mouthUpperUp": 0.12},  # a
    {"jawOpen": 0.25, "mouthStretch": 0.20, "mouthSmile": 0.25, "mouthLowerDown": 0.30},  # e
    {"jawOpen": 0.12, "mouthSmile": 0.35, "mouthStretch": 0.25, "mouthUpperUp": 0.15},  # i
    {"jawOpen": 0.30, "mouthFunnel": 0.55, "mouthPucker": 0.15},  # o
    {"jawOpen": 0.12, "mouthPucker": 0.65, "mouthFunnel": 0.30},  # u
)
CLOSED_LIPS: dict[str, float] = {"mouthPress": 0.30, "mouthRollLower": 0.25, "mouthRollUpper": 0.12}
"""m, b, p."""
OTHER_CONSONANTS: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.06, "mouthRollLower": 0.45, "mouthUpperUp": 0.20},  # f, v
    {"jawOpen": 0.08, "mouthStretch": 0.15, "mouthLowerDown": 0.15},  # t, d, s
    {"jawOpen": 0.15, "mouthLowerDown": 0.15},  # k, g
)
LIP_CLOSURES = 0.3
"""Share of syllables that begin with closed lips."""
SYLLABLE_S, PHRASE_S, PAUSE_S = (0.16, 0.30), (1.2, 3.0), (0.4, 1.0)
BLINK_S, BETWEEN_BLINKS_S = (0.12, 0.25), (1.2, 4.0)
FIXATION_S, SACCADE_S = (0.4, 1.8), 0.04
STILL_S = 1.0
"""At the start nothing moves at all, for measures of jitter."""
HEAD_SIGMA = np.radians([4.0, 9.0, 2.5])
"""Standard deviations of pitch, yaw and roll [rad]."""


class Speech(NamedTuple):
    """Frames of a speaker; see `flame_assets.arkit`."""

    times_s: Float64[np.ndarray, " N"]
    weights: Float64[np.ndarray, "N E"]
    """In [0, 1], in the order of `EXPRESSIONS`."""
    head: Float64[np.ndarray, "N 3"]
    """Rotation vector of the head [rad]."""
    translation: Float64[np.ndarray, "N 3"]
    """Of the head from where it starts [m]."""


def speak(seed: int, times_s: Float64[np.ndarray, " N"]) -> Speech:
    """A speaker at these times [s]; another seed says and does something else."""
    rng = np.random.default_rng([seed, 0])
    end = float(times_s[-1]) + 1.0
    tracks: dict[str, Float64[np.ndarray, " N"]] = {}
    for stem, keys in _mouth(rng, end).items():
        tracks[stem] = _interpolate(keys, times_s)
    tracks["eyeBlink"] = _interpolate(_blinks(rng, end), times_s)
    up, left = _gaze(rng, end, times_s)
    tracks |= {"eyeLookUp": up.clip(0), "eyeLookDown": (-up).clip(0)}
    still = np.clip((times_s - STILL_S) / 0.3, 0, 1)
    for stem, size in (("browInnerUp", 0.35), ("browOuterUp", 0.3), ("browDown", 0.3)):
        tracks[stem] = still * (size * _drift(rng, end, 0.9, times_s)).clip(0)
    tracks["mouthSmile"] = tracks["mouthSmile"] + still * (
        0.25 * _drift(rng, end, 2.5, times_s) - 0.1
    ).clip(0)
    lop = 1 + 0.08 * np.array([_drift(rng, end, 1.5, times_s) for _ in range(2)])
    weights = np.zeros((len(times_s), len(EXPRESSIONS)))
    for column, name in enumerate(EXPRESSIONS):
        stem = name.removesuffix("Left").removesuffix("Right")
        if name in tracks:
            weights[:, column] = tracks[name]
        elif stem in tracks and stem != name:
            weights[:, column] = tracks[stem] * lop[int(name.endswith("Right"))]
    for name, value in (
        ("eyeLookOutLeft", left),
        ("eyeLookInRight", left),
        ("eyeLookOutRight", -left),
        ("eyeLookInLeft", -left),
    ):
        weights[:, EXPRESSIONS.index(name)] = value.clip(0)
    turns = [
        _drift(rng, end, 1.4, times_s) + 0.25 * _drift(rng, end, 0.4, times_s) for _ in range(3)
    ]
    moves = [0.008 * _drift(rng, end, 2.0, times_s) for _ in range(3)]
    head = still[:, None] * np.stack(turns, 1) * HEAD_SIGMA
    return Speech(times_s, weights.clip(0, 1), head, still[:, None] * np.stack(moves, 1))


Keys = list[tuple[float, float]]
"""Times [s] and values that a track runs through."""


def _mouth(rng: np.random.Generator, end: float) -> dict[str, Keys]:
    """Keys of all shapes that speech moves."""
    stems = {stem for shape in (*VOWELS, CLOSED_LIPS, *OTHER_CONSONANTS) for stem in shape}
    keys: dict[str, Keys] = {stem: [(0.0, 0.0), (STILL_S, 0.0)] for stem in sorted(stems)}

    def put(moment: float, shape: dict[str, float], size: float) -> None:
        for stem, track in keys.items():
            track.append((moment, size * shape.get(stem, 0.0)))

    now = STILL_S + 0.1
    while now < end:
        phrase_end = now + rng.uniform(*PHRASE_S)
        while now < phrase_end:
            length = rng.uniform(*SYLLABLE_S)
            closed = rng.random() < LIP_CLOSURES
            consonant = CLOSED_LIPS if closed else OTHER_CONSONANTS[rng.integers(3)]
            put(now, consonant, 1.0)
            if closed:
                put(now + 0.06, consonant, 1.0)  # lips stay shut
            put(now + 0.62 * length, VOWELS[rng.integers(5)], rng.uniform(0.5, 1.3))
            now += length
        put(now + 0.1, {}, 0.0)
        now += 0.1 + rng.uniform(*PAUSE_S)
        put(now - 0.1, {}, 0.0)
    return keys


def _blinks(rng: np.random.Generator, end: float) -> Keys:
    keys: Keys = [(0.0, 0.0)]
    now = STILL_S + rng.uniform(0.2, 1.5)
    while now < end:
        length, depth = rng.uniform(*BLINK_S), rng.uniform(0.85, 1.0)
        shape = ((0.0, 0.0), (0.35, depth), (0.5, depth), (1.0, 0.0))
        keys += [(now + share * length, value) for share, value in shape]
        now += length + rng.uniform(*BETWEEN_BLINKS_S)
    return keys


def _gaze(
    rng: np.random.Generator, end: float, times_s: Float64[np.ndarray, " N"]
) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """How far the eyes look up and to the subject's left, in weights: fixations and saccades."""
    keys: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)]
    now = STILL_S
    while now < end:
        keys.append((now, *keys[-1][1:]))
        up, left = rng.normal(0, [0.16, 0.25])
        keys.append((now + SACCADE_S, up, left))
        now += SACCADE_S + rng.uniform(*FIXATION_S)
    moments, up, left = np.array(keys).T
    return np.interp(times_s, moments, up), np.interp(times_s, moments, left)


def _drift(
    rng: np.random.Generator, end: float, pace_s: float, times_s: Float64[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    """A smooth random track of about unit size that changes within `pace_s`."""
    moments = np.arange(-pace_s, end + 2 * pace_s, pace_s)
    values = rng.normal(0, 1, len(moments))
    return PchipInterpolator(moments, values)(times_s)


def _interpolate(keys: Keys, times_s: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Monotone cubic between keys, which are put at least a millisecond apart."""
    moments, values = np.array([*keys, (keys[-1][0] + 60.0, 0.0)]).T
    kept = np.r_[True, np.diff(moments) > 1e-3]
    return PchipInterpolator(moments[kept], values[kept])(times_s).clip(0)
