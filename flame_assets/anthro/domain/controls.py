"""Named control points of the neutral half face: the numbers the whole head is built from.

One line per point: `name x y z [@ u v] [~ softness]`, millimetres; x to the subject's left, y up,
z out of the face; y = 0 at the pupils, z = 0 near the coronal plane through the tragi. `@ u v`
places the point in the parameter domain by hand where the face folds under itself (nose base, lip
seam, chin underside); `~` lets the surface pass near the point instead of through it (thin-plate
smoothing, mm^2), so that hand-typed cheeks do not dent.

The layout was typed from published adult means and by eye. Since version 2 the positions on the
face are fitted to the mean of ICT-FaceKit's scans (MIT): a smooth displacement field over the
controls, regularised by a Gaussian process, that brings the surface to that mean (point to plane,
median 0.1 mm); no vertex of it is copied. The brows' points are landmarks (`surface/landmarks.py`
says where their places come from). Skull, ears and neck keep the published measures, see
`identity/measures.py`. `tests/bench/anthro_proportions.py` measures the result.

Names are landmarks of anthropometry where there is one (Farkas 1994; ls, li: labiale superius and
inferius; sto: stomion; cph: crista philtri; ac: alar curvature; sbal: subalare; eu: euryon). In the
others:

    _med _mid _lat      nearer to the middle, between, farther to the side
    _f _b, _u _m _l     front and back; upper, middle and lower
    U L                 of the upper and of the lower lip
    verm, vm, vb        the vermilion: on the midline, its middle, its border
    ful, fore_l, top    forehead near the hairline, forehead off the midline, top of the skull
    rim, orb, sulc      orbital rim, the orbit's outer corner, crease of the upper lid
    tear, ck            tear trough, cheek beside the nose
    nasolab, mario      nasolabial fold, marionette line
    bridge, wall, junction    ridge of the nose, its side, its foot on the cheek
    ala, sac, nr        wing of the nose, the crease above it, rim of the nostril
    ujaw                under the jaw

Numbers count outwards, or down the neck.
"""

from typing import NamedTuple


class Control(NamedTuple):
    """One named point: position [mm], its hand-given place (u, v) or None, softness [mm^2]."""

    name: str
    position: tuple[float, float, float]
    place: tuple[float, float] | None
    softness: float


TABLE = """
# profile, forehead to neck
trichion            0   72.2   84.1
forehead_up         0     58   91.7
forehead_mid        0   40.2   95.6   ~ 200
glabella            0   20.3   99.6
sellion             0    5.5   97.5
rhinion             0  -12.3  106.8
supratip            0  -25.4  115.4
pronasale           0  -35.4    119   @ 0 -36
infratip            0  -41.4  116.9   @ 0 -42
columella           0  -44.9  110.3   @ 0 -48
subnasale           0  -48.1  103.3   @ 0 -54
philtrum            0  -56.4  102.5
ls                  0    -62  104.7
vermU               0  -65.7  104.1
stoU                0  -69.8   99.4   @ 0 -73
stoL                0  -70.2   99.2   @ 0 -83
vermL               0  -75.4  101.6
li                  0  -79.9  100.8
sublabiale          0  -85.1   94.7
pogonion            0    -97   94.5
chin_low            0 -107.3   91.3
menton              0 -112.9   84.5   @ 0 -128
subment1            0 -115.9   70.9   @ 0 -142
subment2            0 -117.3     55   @ 0 -156
cervicale           0 -121.5     42   @ 0 -172
larynx              0   -142   42.5
neck_f              0 -164.7   36.8
neck_fb             0 -190.1   35.1
top_f1              0     93     64
top_f2              0  107.3   34.1
# profile, crown to nape
vertex              0  112.5   -0.1
top_b1              0  106.9  -39.9
top_b2              0     88    -70
op_up               0     58  -87.5
opisthocranion      0     28    -92
occ_low             0      0  -89.5
inion               0    -25    -82
nape                0    -52  -71.8
nape2               0    -85  -63.1
neck_b              0   -125    -60
neck_b2             0   -160    -67
neck_bb             0   -190    -73
# cranium
eu               74.8     48    -12   ~ 400
side_fr          70.9   42.5     32   ~ 400
front_temp       57.6   32.8   69.1   ~ 300
temple           69.6   11.8     44   ~ 250
above_ear          75     12     -8
mastoid          66.3    -32  -31.5   ~ 400
back_lat         55.6     22    -65   ~ 400
back_lat2        45.9    -28    -65   ~ 400
back_up          51.8     70  -52.5
back_mid         28.1     45  -84.5
back_low           25    -10    -84
top_lat          46.3   97.2     -8
top_lat2         65.2   76.5  -10.2
ful1               39   60.6     78
ful2             33.2   88.4     56
ful3             58.6   59.7   53.9
# forehead and brow
fore_l1          24.6   41.4   91.7   ~ 300
fore_l2          45.1   42.5     79   ~ 300
fore_l3          19.8   59.9   88.4
brow_med         13.4   15.8   98.1
brow_mid         27.2   22.7   96.4
brow_peak        40.9   24.2   88.9
brow_tail        51.8   22.2   79.5
brow_lat         59.7   14.1   66.6   ~ 150
# orbit
rim_med          16.1     13     95
rim_sup          33.2     17   92.5
rim_lat          51.6   12.6   82.7
sulc_med         15.6    7.6   89.3
sulc             29.5    9.9   88.3
sulc_lat         45.7    6.6   82.6
orb_lat          53.9   -5.2   70.4
med_canth         8.2    0.4   91.6
# cheeks and jaw
tear1            17.7  -11.1   86.6
tear2            29.1  -13.9   84.1
tear3            43.2  -11.4   79.2   ~ 60
ck_med           24.2  -24.3   89.7   @ 23 -24   ~ 150
malar            48.7  -23.6   80.4   ~ 150
malar2           36.9  -28.4   85.5   ~ 250
malar_lat          60  -16.3   69.2   ~ 250
zyg_ant          66.7  -12.4   54.5   ~ 250
zygion           71.5  -15.3   37.7   ~ 150
tragion          72.1  -23.2    7.3   ~ 200
cheek            37.4  -44.1   89.3   ~ 250
cheek_lat        53.3  -41.5   74.6   ~ 250
nasolab_up       23.8  -38.8   89.9   @ 27 -40
nasolab          26.7  -52.4   91.2   ~ 120
nasolab_low      32.2    -68   86.1   ~ 120
buccal             50    -64   67.7   ~ 250
buccal2          61.2  -47.5   56.1   ~ 300
parotid          68.1  -47.4   14.8   ~ 300
masseter         64.5  -67.1   32.4   ~ 300
gonion           57.7  -80.7   20.5
jaw_mid          49.6  -92.7   44.8   ~ 150
jaw_front          31 -104.5   69.5
chin_lat           15 -102.8   89.4
chin_latlow      15.6 -110.2   83.6
mario            30.5  -86.5   81.2   ~ 120
mario2           22.8  -94.9   84.3   ~ 120
jowl             44.5  -84.4   66.5   ~ 250
sublab_l           14  -86.9   91.7
# under the jaw and neck
ujaw1            12.9 -114.6   60.6   @ 16 -144   ~ 200
ujaw2            25.5 -109.5     46   @ 35 -142   ~ 200
ujaw3            37.2 -103.6   32.7   @ 62 -132   ~ 250
ujaw4              45  -96.5      8   @ 95 -124   ~ 250
neck_side0       51.4    -72  -21.8   ~ 400
neck_side        47.2 -109.7  -16.6   ~ 400
neck_side2       49.6 -145.1    -18   ~ 400
neck_side3       62.1   -190    -20
neck_fl1         27.5   -128     32   ~ 400
neck_fl2           36   -150     22   ~ 400
neck_fl3           38   -190     19
neck_bl          35.9  -94.9  -50.1
neck_bl2           37   -140    -52
neck_bl3           44   -190    -60
# nose
bridge_s            5    5.3   95.4
bridge_m          5.2     -4   98.1
bridge_l          5.5  -11.9  103.7
wall_u            8.8   -7.1   93.1
wall_m             11  -15.6   96.8
junction         17.1  -21.8     92
junction_l       20.9  -31.3   90.6   @ 22 -31
tip_s             8.4    -34  115.2   @ 7 -36.5
tip_u             6.9  -25.4  111.9
ala_u            15.3  -32.5  101.2   @ 14 -34.5
alar_gr          11.8  -25.2  101.1   @ 11.5 -27
alare            18.6  -39.4   96.8   @ 17.5 -41.5
ala_f              16  -37.2  105.2   @ 12.8 -39.5
ac               18.3  -41.5   91.3   @ 21.5 -45
sac              17.1  -32.5   93.5   @ 18.5 -34.5
sbal             13.3  -46.6   95.4   @ 17 -53
nr_lat           14.5  -44.1   99.6   @ 14.3 -48
nr_front          8.3  -41.1  111.8   @ 7.5 -42
nr_med            4.3  -44.9  106.4   @ 4.3 -48.5
nr_back           8.6  -47.1   99.2   @ 9 -54
nr_pit            9.8  -36.3  103.2   @ 9.3 -48.5
# lips
phil_r            5.5    -56  103.1
phil_l           11.9  -54.2   99.4
cph               6.4  -60.9  103.8
vbU1             14.3  -63.5   99.9
vbU2             20.7  -67.3     94
cheilion         25.8  -70.8   87.9   @ 23.2 -78
vmU1              9.2  -65.5  101.9
vmU2             16.8  -67.2     97
stoU1             8.8  -69.6   98.5   @ 7.1 -73
stoU2              17  -70.2     92   @ 15 -74.9
stoL1             8.8  -70.1   98.1   @ 7.1 -83
stoL2            16.8  -70.5   91.3   @ 15 -81.1
vmL1              8.9  -75.3  100.4
vmL2             16.6  -73.8   95.2
vbL1             10.6  -79.6   98.9
vbL2               19  -76.4   92.8
ch_out             31  -73.3   85.2
"""


def _parse(line: str) -> Control:
    line, _, softness = line.partition("~")
    line, _, place = line.partition("@")
    name, x, y, z = line.split()
    u_v = [float(word) for word in place.split()]
    return Control(
        name,
        (float(x), float(y), float(z)),
        (u_v[0], u_v[1]) if u_v else None,
        float(softness) if softness else 0.0,
    )


CONTROLS: tuple[Control, ...] = tuple(
    _parse(line) for line in TABLE.splitlines() if line and not line.startswith("#")
)
