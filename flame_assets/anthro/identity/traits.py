"""Named traits of a face and how far people differ in them: the fields of the identity prior.

Each is a bump around some controls; spreads are per side [mm] and only set how traits share the
published variances, since `identity.modes` conditions their sum on the measures.
"""

from typing import NamedTuple


class Trait(NamedTuple):
    """A Gaussian bump of width [mm] around the nearest of `at`, moving `along` by `sd` [mm]."""

    name: str
    sd: float
    at: tuple[str, ...]
    along: tuple[float, float, float]
    width: float | tuple[float, float, float]


# fmt: off
TRAITS: tuple[Trait, ...] = (
    Trait("head breadth", 3.0, ("eu", "above_ear", "top_lat2"), (1.0, 0.0, 0.0), (60.0, 55.0,
          60.0)),
    Trait("head length", 6.5, ("opisthocranion", "op_up", "occ_low"), (0.0, 0.0, -1.0), (70.0,
          60.0, 50.0)),
    Trait("head height", 5.0, ("vertex", "top_f2", "top_b1"), (0.0, 1.0, 0.0), (70.0, 45.0, 60.0)),
    Trait("forehead w", 2.8, ("front_temp", "fore_l2"), (1.0, 0.0, 0.0), 25.0),
    Trait("forehead slope", 4.0, ("forehead_up", "trichion"), (0.0, 0.0, 1.0), (45.0, 30.0, 30.0)),
    Trait("bizygomatic", 2.8, ("zygion", "zyg_ant"), (1.0, 0.0, 0.0), 28.0),
    Trait("bigonial", 3.4, ("gonion", "masseter"), (1.0, 0.0, 0.0), 28.0),
    Trait("face height lower", 4.0, ("menton", "pogonion", "jaw_front", "chin_low"), (0.0, -1.0,
          0.0), (45.0, 22.0, 50.0)),
    Trait("face height upper", 2.6, ("subnasale", "ls", "cheilion", "pogonion", "menton",
          "gonion", "nasolab"), (0.0, -1.0, 0.0), (40.0, 22.0, 45.0)),
    Trait("chin protr", 3.5, ("pogonion", "menton"), (0.0, 0.0, 1.0), (25.0, 18.0, 40.0)),
    Trait("chin w", 2.5, ("chin_lat", "jaw_front"), (1.0, 0.0, 0.0), 18.0),
    Trait("jaw forward", 4.0, ("pogonion", "stoL", "jaw_front", "li"), (0.0, 0.0, 1.0), (45.0,
          24.0, 45.0)),
    Trait("midface prot", 3.2, ("subnasale", "ls", "nasolab"), (0.0, 0.0, 1.0), (28.0, 18.0, 40.0)),
    Trait("intercanthal", 1.3, ("lid0", "med_canth"), (1.0, 0.0, 0.0), 7.0),
    Trait("biocular", 1.8, ("lid8", "orb_lat"), (1.0, 0.0, 0.0), 10.0),
    Trait("eye sep", 1.5, ("lid4", "lid12", "sulc"), (1.0, 0.0, 0.0), 14.0),
    Trait("eye depth", 2.0, ("lid4", "lid12", "sulc"), (0.0, 0.0, 1.0), 14.0),
    Trait("fissure h", 1.4, ("lid4",), (0.0, 1.0, 0.0), 8.0),
    Trait("fissure l", 1.3, ("lid12",), (0.0, -1.0, 0.0), 8.0),
    Trait("canthal tilt", 1.2, ("lid8",), (0.0, 1.0, 0.0), 9.0),
    Trait("eye height", 1.5, ("lid4", "lid12"), (0.0, 1.0, 0.0), 16.0),
    Trait("brow height", 2.2, ("brow_mid", "brow_peak"), (0.0, 1.0, 0.0), 15.0),
    Trait("brow ridge", 2.0, ("brow_med", "brow_mid", "glabella"), (0.0, 0.0, 1.0), 14.0),
    Trait("brow tail", 1.6, ("brow_tail",), (0.0, 1.0, 0.0), 12.0),
    Trait("nose len", 2.9, ("pronasale", "alare", "subnasale"), (0.0, -1.0, 0.0), 14.0),
    Trait("nose prot", 2.2, ("pronasale", "supratip"), (0.0, 0.0, 1.0), 13.0),
    Trait("nose w", 1.6, ("alare", "ac"), (1.0, 0.0, 0.0), 8.0),
    Trait("bridge h", 2.0, ("sellion", "bridge_m"), (0.0, 0.0, 1.0), 12.0),
    Trait("bridge w", 1.0, ("wall_u", "bridge_l"), (1.0, 0.0, 0.0), 9.0),
    Trait("dorsum hump", 1.6, ("rhinion",), (0.0, 0.0, 1.0), 9.0),
    Trait("tip rot", 1.8, ("infratip", "pronasale"), (0.0, 1.0, 0.0), 7.0),
    Trait("tip w", 1.1, ("tip_s", "tip_u"), (1.0, 0.0, 0.0), 6.0),
    Trait("columella", 1.2, ("columella",), (0.0, -1.0, 0.0), 6.0),
    Trait("ala h", 1.0, ("alare", "nr_lat"), (0.0, -1.0, 0.0), 6.0),
    Trait("mouth w", 1.9, ("cheilion", "ch_out", "stoU2"), (1.0, 0.0, 0.0), 9.0),
    Trait("philtrum len", 2.0, ("ls", "stoU", "stoL", "li", "cheilion"), (0.0, -1.0, 0.0), (22.0,
          9.0, 25.0)),
    Trait("upper verm", 1.2, ("ls", "cph", "vbU1"), (0.0, 1.0, 0.0), 5.0),
    Trait("lower verm", 1.3, ("li", "vbL1"), (0.0, -1.0, 0.0), 5.0),
    Trait("lip prot u", 2.0, ("vermU", "ls"), (0.0, 0.0, 1.0), 10.0),
    Trait("lip prot l", 2.0, ("vermL", "li"), (0.0, 0.0, 1.0), 10.0),
    Trait("mentolabial", 1.5, ("sublabiale",), (0.0, 0.0, -1.0), 9.0),
    Trait("cheek full", 2.8, ("cheek", "cheek_lat", "buccal"), (0.5, 0.0, 0.85), 20.0),
    Trait("malar prom", 2.2, ("malar", "malar_lat"), (0.5, 0.0, 0.85), 16.0),
    Trait("buccal hollow", 2.6, ("buccal", "masseter"), (0.9, 0.0, 0.4), 16.0),
    Trait("tear trough", 1.3, ("tear2", "tear1"), (0.0, 0.0, 1.0), 8.0),
    Trait("nasolabial", 1.3, ("nasolab", "nasolab_low"), (0.3, 0.0, 0.9), 9.0),
    Trait("temple", 2.4, ("temple",), (1.0, 0.0, 0.0), 18.0),
    Trait("neck w", 4.5, ("neck_side", "neck_side2"), (1.0, 0.0, 0.0), 40.0),
    Trait("neck fat", 6.0, ("cervicale", "subment2"), (0.0, -1.0, 0.3), 28.0),
    Trait("weight", 4.0, ("jowl", "jaw_mid", "gonion", "buccal"), (0.8, -0.5, 0.3), 30.0),
)
# fmt: on
