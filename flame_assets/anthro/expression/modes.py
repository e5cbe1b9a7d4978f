"""The 51 ARKit expressions as vertex displacements at weight 1.

Skin moves by the listed controls (`expression.table`) through the thin-plate field. Lids rotate
about the eye, blinks bring both margins together exactly. Shapes of the jaw move teeth and tongue
with it; jawOpen holds only the condyles' glide, since the joint turns; mouthClose is the inverse of
the opened jaw at the lips, so that both at weight 1 keep them shut.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from flame_assets.anthro.expression import table
from flame_assets.anthro.parts import eyes, lids
from flame_assets.anthro.rig import jaw
from flame_assets.anthro.surface.control_set import ControlSet
from flame_assets.anthro.surface.displacements import left_share, one_sided, two_sided
from flame_assets.anthro.surface.head_surface import Surface
from flame_assets.arkit import EXPRESSIONS, JAW_OPEN, PAIRS, SINGLES

_LID_TURNS = {
    "eyeSquint": (1.5, -9.5),
    "eyeWide": (-14.0, 1.0),
    "eyeLookDown": (26.0, 8.0),
    "eyeLookUp": (-15.0, -6.0),
    "cheekSquint": (0.0, -5.0),
}
"""Turn of the upper and the lower lid about the eye [degrees, positive down]."""
_BLINK_SKIN = {
    "sulc": (0.0, -3.0, 1.0),
    "sulc_lat": (0.0, -2.0, 0.5),
    "sulc_med": (0.0, -1.5, 0.5),
    "brow_mid brow_peak": (0.0, -0.6, 0.0),
    "tear2": (0.0, 0.7, 0.2),
}
LIDS_MEET = 0.12
"""Where the lids meet in a blink: this share of the way up from the lower margin."""
_JAW_SHIFTS = {
    "jawForward": (0.0, 0.0, 5.0),
    "jawLeft": (7.8, 0.0, 0.5),
    "jawRight": (-7.8, 0.0, 0.5),
}
"""Translations of the whole jaw [mm]."""
_CLEARANCE = np.array([0.0, -0.9, 0.0])
"""Of the mouth's inside under closed lips, so that the shifted teeth clear each other [mm]."""
_CLOSE = {
    "stoL stoL1 stoL2 vermL vmL1 vmL2": 1.0,
    "stoU2 vmU2 vbU2 cheilion ch_out vbL2": 1.0,
    "li vbL1": 0.9,
    "sublabiale sublab_l": 0.4,
    "mario": 0.3,
    "nasolab_low nasolab": 0.8,
}
"""Share of the jaw's opening that mouthClose takes back."""


def _lid_turn(controls: ControlSet, upper: float, lower: float) -> Float[ndarray, "c 3"]:
    """Left lids turned about the eye's x axis [degrees], fading to the canthi."""
    field = np.zeros_like(controls.positions)
    for k in range(1, 16):
        if k == 8:
            continue
        share = np.sin(np.pi * (k if k < 8 else 16 - k) / 8) ** 0.55
        turn = jaw.rotation(np.radians((upper if k < 8 else lower) * share))
        row = controls.index[f"lid{k}"]
        away = controls.positions[row] - eyes.CENTRE
        field[row] = turn @ away - away
    for name, share in (("sulc", 0.22), ("sulc_lat", 0.15), ("sulc_med", 0.12)):
        field[controls.index[name]] += [0.0, -0.2 * share * upper, 0.02 * upper]
    return field


def _closed_margin(margin: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Where the points of the left margin lie when the lids are closed."""
    half = len(margin) // 2
    closed = margin.copy()
    upper, lower = margin[1:half], margin[:half:-1]
    met = lids.push_out(lower + LIDS_MEET * (upper - lower), lids.MARGIN)
    closed[1:half], closed[:half:-1] = met, met
    return closed


def _blink(controls: ControlSet) -> Float[ndarray, "c 3"]:
    """Left blink over the controls."""
    field = one_sided(controls, _BLINK_SKIN)
    rows = controls.lid()
    field[rows] = _closed_margin(controls.positions[rows]) - controls.positions[rows]
    return field


def _paired(controls: ControlSet, name: str) -> Float[ndarray, "c 3"]:
    """Left one of a pair over the controls."""
    if name == "eyeBlink":
        return _blink(controls)
    field = np.zeros_like(controls.positions)
    if name in table.PAIRED:
        field += two_sided(controls, table.PAIRED[name]) * left_share(controls)[:, None]
    if name in _LID_TURNS:
        field += _lid_turn(controls, *_LID_TURNS[name])
    return field


def _sideways(controls: ControlSet, sign: float) -> Float[ndarray, "c 3"]:
    """Lips carried to one side, around the arch of the teeth."""
    field = np.zeros_like(controls.positions)
    for names, share in ((table.LIPS, 1.0), (table.AROUND_LIPS, 0.5)):
        for name in names:
            row = controls.index[name]
            for k in {row, int(controls.mirror[row])}:
                along = -0.25 * sign * controls.positions[k, 0]  # around the dental arch
                field[k] = share * np.array([sign * table.SIDEWAYS, 0.0, along])
    return field


def _closing(controls: ControlSet, weights: Float[ndarray, " c"]) -> Float[ndarray, "c 3"]:
    """The jaw's opening taken back at the lower lip, fading to the chin."""
    back = jaw.before_opening(controls.positions, weights) - controls.positions
    back -= weights[:, None] * _glide()
    field = np.zeros_like(controls.positions)
    for names, share in _CLOSE.items():
        for name in names.split():
            row = controls.index[name]
            for k in (row, controls.mirror[row]):
                field[k] = share * back[k]
    return field


def _glide() -> Float[ndarray, "3"]:
    """The glide of the condyles as it must be before the joint turns."""
    return jaw.rotation(JAW_OPEN).T @ jaw.GLIDE


def _single(
    controls: ControlSet, name: str, weights: Float[ndarray, " c"]
) -> Float[ndarray, "c 3"]:
    """An expression without a side over the controls; jaw shifts are added on the vertices."""
    if name == "mouthClose":
        return _closing(controls, weights)
    if name in ("mouthLeft", "mouthRight"):
        return _sideways(controls, 1.0 if name == "mouthLeft" else -1.0)
    field = np.zeros_like(controls.positions)
    if name in table.WHOLE:
        field += two_sided(controls, table.WHOLE[name])
    if name == "mouthFunnel":
        field += two_sided(controls, table.FUNNEL_OPENING)
    return field


def expression_modes(
    controls: ControlSet, surface: Surface, weights: Float[ndarray, " c"]
) -> Float[ndarray, "v 3 e"]:
    """Displacement of each vertex [mm] at weight 1, in the order of `EXPRESSIONS`."""

    def spread(field: Float[ndarray, "c 3"]) -> Float[ndarray, "v 3"]:
        return surface.expression_basis @ controls.with_seam(field)

    made: dict[str, Float[ndarray, "v 3"]] = {}
    for name in PAIRS:
        left = _paired(controls, name)
        made[name + "Left"], made[name + "Right"] = spread(left), spread(controls.mirrored(left))
    for name in SINGLES:
        made[name] = spread(_single(controls, name, weights))
    mouth = _mouth_inside(surface)
    for name, shift in _JAW_SHIFTS.items():
        made[name] += surface.jaw[:, None] * (np.array(shift) + mouth[:, None] * _CLEARANCE)
    made["jawOpen"] += surface.jaw[:, None] * _glide()
    for side, prefix in (("Left", ""), ("Right", "right_")):
        _meet_lids(surface, made[f"eyeBlink{side}"], prefix)
    for name in EXPRESSIONS:
        if name != "mouthClose":
            _keep_lips_apart(surface, made[name])
    _shut_lips(surface, made["mouthClose"], made["jawOpen"])
    return np.stack([made[name] for name in EXPRESSIONS], 2)


def _mouth_inside(surface: Surface) -> Float[ndarray, " v"]:
    """1 for teeth, tongue and the cavity's walls, 0 for all others."""
    inside = np.zeros(len(surface.vertices))
    for name in ("lower_teeth", "tongue", "bag", "right_bag"):
        inside[surface.parts[name]] = 1.0
    return inside


def _meet_lids(surface: Surface, move: Float[ndarray, "v 3"], prefix: str) -> None:
    """Make both margins and the rims behind them meet exactly at full blink."""
    flip = np.array([-1.0 if prefix else 1.0, 1.0, 1.0])
    lid, rims = surface.parts[prefix + "lid"], surface.parts[prefix + "rims"]
    closed = _closed_margin(surface.vertices[lid] * flip)
    move[lid] = closed * flip - surface.vertices[lid]
    ray = closed - eyes.CENTRE
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    for row in (rims[: len(lid)], rims[len(lid) :]):
        radius = np.linalg.norm(surface.vertices[row] * flip - eyes.CENTRE, axis=1, keepdims=True)
        move[row] = (eyes.CENTRE + ray * radius) * flip - surface.vertices[row]


def _lips(surface: Surface, prefix: str) -> tuple[Int[ndarray, "3 11"], Int[ndarray, "3 11"]]:
    """Rows of the upper and the lower lip, each from the midline to the corner.

    The seam and the first two rows of the mouth behind it.
    """
    seam, bag = surface.parts[prefix + "seam"], surface.parts[prefix + "bag"]
    count = len(seam)
    rows = np.stack([seam, bag[:count], bag[count : 2 * count]])
    half = count // 2 + 1
    return rows[:, :half], rows[:, ::-1][:, :half]


def _keep_lips_apart(surface: Surface, move: Float[ndarray, "v 3"]) -> None:
    """Where the lips would cross, let both rows of the seam share the way."""
    for prefix in ("", "right_"):
        upper, lower = _lips(surface, prefix)
        crossing = np.minimum(move[upper[0], 1] - move[lower[0], 1], 0)
        for above, below in zip(upper, lower, strict=True):
            move[above, 1] -= 0.5 * crossing
            move[below, 1] += 0.5 * crossing * (above != below)


def _shut_lips(
    surface: Surface, close: Float[ndarray, "v 3"], opening: Float[ndarray, "v 3"]
) -> None:
    """Make the lower lip meet the upper one when jawOpen and mouthClose are both 1."""
    for prefix in ("", "right_"):
        upper, lower = _lips(surface, prefix)
        start = surface.vertices[upper[0]] + opening[upper[0]] + close[upper[0]]
        seam = jaw.opened(start, surface.jaw[upper[0]])
        for rows in (upper, lower):
            for row in rows:
                target = seam + surface.vertices[row] - surface.vertices[rows[0]]
                before = jaw.before_opening(target, surface.jaw[row])
                close[row] = before - surface.vertices[row] - opening[row]
