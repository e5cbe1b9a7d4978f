"""The ARKit expressions as listed moves of named controls [mm at weight 1].

`PAIRED` holds the left one of each pair (x outward, y up, z forward; points on the midline move by
the blended sum of both sides); `WHOLE` the ones without a side. Lids, jaw and the joints' part are
in `expression.modes`. Amplitudes are those of a strong but ordinary face. mouthSmile is half way
between moves typed by eye and .85 of ICT-FaceKit's smile (MIT) at the same points.
"""

from flame_assets.anthro.surface.displacements import Moves

# fmt: off
PAIRED: dict[str, Moves] = {
    "eyeSquint": {"tear2": (0, 1.8, 0.5), "tear1 tear3": (0, 1.3, 0.4),
        "malar malar2": (0, 2.2, 0.6), "brow_tail": (0, -0.8, 0)},
    "eyeWide": {"brow_mid brow_peak": (0, 1.2, 0)},
    "eyeLookIn": {"lid0": (-0.4, 0, 0), "lid2 lid3": (-0.5, 0, 0.5), "lid6": (-0.3, 0, -0.3)},
    "eyeLookOut": {"lid5 lid6": (0.5, 0, 0.4), "lid2": (0.2, 0, -0.3)},
    "browDown": {"brow_med": (-2, -6, 1), "brow_mid": (-1.5, -5.5, 0.5),
        "brow_peak": (-0.8, -4, 0.3), "brow_tail": (0, -1.5, 0), "rim_med": (-1, -4, 1),
        "rim_sup": (0, -3, 0.5), "rim_lat": (0, -1.5, 0), "sulc sulc_med": (0, -1.5, 0.8),
        "glabella": (0, -3, 1), "fore_l1": (0, -1.5, 0)},
    "browOuterUp": {"brow_peak": (0, 7.5, -1.2), "brow_tail": (0.8, 9, -2.2),
        "brow_mid": (0, 3, 0), "brow_lat": (0, 4.5, 0), "rim_lat": (0, 6, -0.8),
        "rim_sup": (0, 4.5, -0.4), "fore_l2": (0, 3.8, 0), "front_temp": (0, 2.2, 0)},
    "mouthSmile": {"subnasale": (0, 0.4, -0.7), "philtrum": (0, 1.7, -1.6), "ls": (0, 1.8, -1.7),
        "vermU": (0, 1.9, -1.5), "vermL": (0, 1.9, -1.1), "li": (0, 2, -1.3),
        "sublabiale": (0, 2.3, -0.1), "pogonion": (0, 2.5, 0.5), "chin_low": (0, 2.1, 1),
        "menton": (0, 1.6, 1.3), "tear2": (0.2, 1.6, 0.6), "tear3": (0.3, 1.6, 0.7),
        "ck_med": (0.8, 1.2, 0.4), "malar": (1.5, 3.2, 2), "malar2": (1.7, 3.7, 2.2),
        "malar_lat": (0.8, 1.3, 0.7), "zyg_ant": (0.3, 0.7, 0.5), "cheek": (3.2, 4.5, 2.2),
        "cheek_lat": (3.8, 4.2, 3), "nasolab_up": (2.2, 2.8, 0.4), "nasolab": (3.8, 4.8, -0.6),
        "nasolab_low": (5.7, 7, -2.3), "buccal": (4.6, 4.2, 1), "buccal2": (2.8, 2.4, 0.3),
        "masseter": (1.3, 1.6, 0.4), "jaw_mid": (0.5, 1.9, 0.7), "jaw_front": (0.6, 2.3, 0.6),
        "chin_lat": (0.6, 2.6, 0.3), "chin_latlow": (0.5, 2.1, 0.9), "mario": (2.9, 5, -1.6),
        "mario2": (1, 3.4, -0.6), "jowl": (1.6, 3.6, -0.4), "sublab_l": (1.6, 3.3, -1.3),
        "junction": (0.4, 0.6, 0.2), "junction_l": (1, 1.2, 0.3), "ala_u": (0.5, 0.6, -0.1),
        "alare": (1.3, 1.3, -0.2), "ala_f": (0.5, 0.5, -0.2), "ac": (1.6, 1.6, -0.3),
        "sac": (0.8, 1, 0), "sbal": (1.4, 1.4, -0.8), "nr_lat": (0.9, 0.9, -0.3),
        "nr_med": (0.3, 0.2, -0.5), "nr_back": (1, 0.9, -0.7), "nr_pit": (0.6, 0.3, -0.5),
        "phil_r": (1.1, 1.8, -1.9), "phil_l": (1.9, 2, -2), "cph": (1.4, 1.8, -2),
        "vbU1": (3.5, 3.4, -3.5), "vbU2": (5.9, 6.9, -5.5), "cheilion": (7.1, 9, -6.5),
        "vmU1": (2.6, 2.4, -2.4), "vmU2": (5.1, 5.1, -4.7), "stoU1 stoL1": (2.6, 2.5, -2.2),
        "stoU2 stoL2": (4.9, 5.5, -4.5), "vmL1": (2.2, 2.5, -2), "vmL2": (4.4, 5, -4),
        "vbL1": (2.5, 2.6, -2.4), "vbL2": (4.8, 5.5, -4.5), "ch_out": (6.6, 8.5, -4.2),
        "stoU stoL": (0, 1.8, -1.1)},
    "mouthFrown": {"cheilion": (1, -5.5, -0.5), "ch_out": (1, -6, 0),
        "stoU2 stoL2": (0.6, -2.8, 0), "vmU2 vmL2": (0.6, -2.4, 0), "vbU2 vbL2": (0.8, -3.4, 0),
        "nasolab_low": (0.8, -3, 0), "mario": (1, -3.5, 1), "sublab_l": (0, -1, 0.5),
        "jowl": (0, -1.5, 0)},
    "mouthDimple": {"cheilion": (4, 0.6, -4), "ch_out": (3.6, 0.4, -4),
        "stoU2 stoL2 vmU2 vmL2": (2.2, 0.3, -1.8), "vbU2 vbL2": (2.6, 0.3, -2.4),
        "nasolab_low": (2.5, 0, 0.5), "mario": (1.5, 0, 0), "buccal": (0.5, 0, 1)},
    "mouthStretch": {"cheilion": (6, -3, -4), "ch_out": (5.5, -3, -3),
        "stoU2 stoL2 vmU2 vmL2": (3.6, -1.5, -2), "vbU2 vbL2": (4.2, -2, -2.5),
        "mario": (4, -3, -1), "jowl": (2, -2, 0), "sublab_l": (1.5, -1, 0),
        "nasolab_low": (2.5, -1, 0), "stoU1 stoL1 vmU1 vmL1 vbU1 vbL1": (1.6, -0.4, -1)},
    "mouthUpperUp": {"ls cph": (0, 6.1, 0.5), "stoU vermU": (0, 6.1, 0.8),
        "stoU1 vmU1": (0, 9, 0), "vbU1": (0, 9, 0), "stoU2 vmU2": (0.8, 6.1, 0),
        "vbU2": (1.2, 6.5, 0), "phil_l phil_r philtrum": (0, 4.1, 2), "nasolab_up": (0.9, 5, 2),
        "nasolab": (0.9, 5, 2), "ac alare sac": (0.9, 3, 0), "cheek": (0, 2.4, 1.6),
        "malar2": (0, 2.4, 1.2)},
    "mouthLowerDown": {"li": (0, -5.3, -0.4), "stoL vermL": (0, -5.3, 0),
        "stoL1 vmL1": (0.4, -6.6, -0.4), "vbL1": (0.5, -6.6, -0.4), "stoL2 vmL2": (1.3, -4, 0),
        "vbL2": (1.6, -4.6, 0), "sublab_l sublabiale": (0, -2.6, 1.1), "mario": (1.3, -2.6, 0.6)},
    "mouthPress": {"vermU vmU1 vmU2": (0, -1.2, -1.6), "ls cph vbU1": (0, -1.5, -0.6),
        "vermL vmL1 vmL2": (0, 1.5, -1.6), "li vbL1": (0, 1.8, -0.4), "cheilion": (1, 0, -1),
        "sublab_l sublabiale": (0, 1.5, 0.8)},
    "noseSneer": {"stoU2 vmU2": (0, 1.4, 0), "vbU2": (0, 1.8, 0),
        "alare ala_f ala_u": (1.6, 8.4, -0.8), "ac sac": (2.1, 7.9, 0),
        "alar_gr": (0.8, 6.6, 0.5), "nasolab_up": (1.6, 8.4, 4),
        "junction junction_l": (0, 6.6, 4), "wall_m": (0, 5.3, 1.6),
        "cph vbU1 ls": (0, 4.2, 0.5), "phil_l phil_r": (0, 4.6, 1.3), "ck_med": (0, 5.3, 3.2),
        "med_canth": (0, -1.6, 1.6), "brow_med": (-1.6, -3.7, 1.1), "nr_lat sbal": (1.1, 5.3, 0),
        "stoU1 vmU1": (0, 3.2, 0)},
    "cheekSquint": {"malar malar2": (0, 3.5, 1.8), "cheek": (0, 2.5, 1.5),
        "malar_lat": (0, 2, 1), "tear2 tear3": (0, 2, 1), "ck_med tear1": (0, 1.5, 0.6)},
}

_PUCKER: Moves = {"cheilion": (-9, 0, 5.5), "ch_out": (-7, 0, 3.5),
        "stoU2 stoL2": (-5.5, 0, 5.5), "vmU2": (-5, 0.3, 6), "vmL2": (-5, -0.3, 6),
        "vbU2": (-6, 0.5, 5), "vbL2": (-5.5, -0.3, 5), "stoU1 stoL1 vmU1 vmL1": (-2.2, 0, 6),
        "vbU1": (-2.6, 0.6, 5.5), "vbL1": (-2.2, -0.4, 5.5), "stoU stoL": (0, 0, 5.5),
        "vermU": (0, 0.8, 6), "vermL": (0, -0.8, 6), "ls cph": (-0.4, 1, 5), "li": (0, -0.6, 5),
        "phil_r philtrum phil_l": (-0.6, -0.2, 2.4), "sublabiale sublab_l": (-0.5, 0, 2),
        "nasolab_low": (-4.5, 0, 1), "mario": (-3.5, 0, 1), "nasolab": (-1.2, 0, 0),
        "buccal": (-1.5, 0, -1)}

WHOLE: dict[str, Moves] = {
    "browInnerUp": {"brow_med": (0, 6.5, -0.3), "brow_mid": (0, 5, -0.5), "brow_peak": (0, 2, 0),
        "glabella": (0, 4.5, 0), "rim_med": (0, 3.5, 0), "rim_sup": (0, 2, 0),
        "fore_l1": (0, 3, 0), "forehead_mid": (0, 2.5, 0), "sulc_med": (0, 1, 0)},
    "cheekPuff": {"buccal": (14, 0, 11), "nasolab_low": (5.5, 0, 9.5),
        "cheek_lat": (9.5, 0, 9.5), "mario": (5.5, 0, 8.5), "jowl": (10, 0, 8.5),
        "nasolab": (2.5, 0, 5), "cheek": (3.5, 0, 5.5), "masseter": (4, 0, 3),
        "buccal2": (5, 0, 4), "jaw_mid": (2, 0, 2), "mario2": (1.5, 0, 3), "malar2": (1, 0, 2),
        "malar_lat": (1.5, 0, 2), "ls philtrum phil_r phil_l cph": (0, 0, 3.5),
        "li sublabiale sublab_l": (0, 0, 3.5), "vermU vermL stoU stoL": (0, 0, 2),
        "vbU1 vbL1 vmU1 vmL1 stoU1 stoL1": (0, 0, 2.4),
        "vbU2 vbL2 vmU2 vmL2 stoU2 stoL2": (0, 0, 3.4), "ch_out": (2, 0, 6.5),
        "cheilion": (0, 0, 4.5)},
    "mouthPucker": _PUCKER,
    "mouthFunnel": {names: (0.75 * x, 0.75 * y, 0.75 * z) for names, (x, y, z) in _PUCKER.items()},
    "mouthRollUpper": {"ls cph": (0, -3.4, -1.8), "vbU1": (0, -3, -1.8),
        "vermU vmU1": (0, -3.2, -3.6), "stoU stoU1": (0, -0.2, -3.8),
        "stoU2 vmU2": (0, -0.6, -2.2), "phil_r phil_l philtrum": (0, -0.8, -0.4)},
    "mouthRollLower": {"li": (0, 8.6, -2.9), "vbL1": (0, 7.7, -2.9),
        "vermL vmL1": (0, 4.6, -4.4), "stoL stoL1": (0, -0.1, -4.6), "stoL2": (0, 0.1, -3),
        "vmL2": (0, 2.2, -3), "vbL2": (0, 3.1, -2.4), "sublabiale sublab_l": (0, 5.5, 0),
        "mario": (0, 1.8, 0), "pogonion": (0, 1.3, 0)},
    "mouthShrugLower": {"li": (0, 6.5, 3), "vermL stoL": (0, 5, 3), "vbL1 vmL1 stoL1": (0, 5, 3),
        "vbL2 vmL2 stoL2": (0, 2.6, 1), "stoU stoU1": (0, 5, 3), "vermU vmU1": (0, 3.8, 2.6),
        "ls cph vbU1": (0, 2.4, 1.6), "stoU2": (0, 2.6, 1), "vmU2": (0, 2, 0.8),
        "vbU2": (0, 1.4, 0.5), "sublabiale sublab_l": (0, 7, 2), "pogonion": (0, 6, 0.5),
        "chin_lat": (0, 5, 0), "chin_low": (0, 3, 0), "mario": (0, 2.5, 0.5)},
    "mouthShrugUpper": {"ls cph": (0, 2.2, 1), "vermU stoU": (0, 2.8, 1.4),
        "vbU1 vmU1 stoU1": (0, 2.4, 1.0), "vbU2 vmU2 stoU2": (0, 1, 0.3), "stoL": (0, 2.8, 1.2),
        "stoL1": (0, 2.4, 0.8), "stoL2": (0, 1, 0.3), "vermL vmL1": (0, 2, 0.8),
        "li vbL1": (0, 1.2, 0.4), "phil_r phil_l philtrum": (0, 1.2, 0.5)},
}

FUNNEL_OPENING: Moves = {"ls cph vbU1 vermU vmU1": (0, 1.5, 1), "stoU stoU1": (0, 3.2, 1),
        "stoU2": (0, 1.8, 0), "li vbL1 vermL vmL1": (0, -1.8, 1), "stoL stoL1": (0, -3.6, 1),
        "stoL2": (0, -2, 0)}
"""What a funnel adds to three quarters of a pucker."""

LIPS = [
    "ls", "cph", "vbU1", "vbU2", "cheilion", "vbL1", "vbL2", "li", "vermU", "vmU1", "vmU2",
    "vermL", "vmL1", "vmL2", "stoU", "stoU1", "stoU2", "stoL", "stoL1", "stoL2",
]
AROUND_LIPS = ["ch_out", "nasolab_low", "mario", "sublab_l", "sublabiale", "phil_r", "philtrum"]
SIDEWAYS = 12.0
"""How far mouthLeft and mouthRight carry the lips [mm]."""
# fmt: on
