"""Named control points of the neutral half face: the numbers the whole head is built from.

One line per point: `name x y z [@ u v] [~ softness]`, millimetres; x to the subject's left, y up,
z out of the face; y = 0 at the pupils, z = 0 in the coronal plane through the tragi. `@ u v` places
the point in the parameter domain by hand where the face folds under itself (nose base, lip seam,
chin underside); `~` lets the surface pass near the point instead of through it (thin-plate
smoothing, mm^2), so that hand-typed cheeks do not dent.

Typed from published adult means (see `measures.py`) and by eye; no scan was copied.
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
trichion           0      74     87
forehead_up        0      60     97
forehead_mid       0      42  102.5   ~ 200
glabella           0      22    103
sellion            0     7.3   96.5
rhinion            0     -13  106.5
supratip           0     -27    115
pronasale          0     -36  119.5   @ 0 -36
infratip           0   -41.5  116.5   @ 0 -42
columella          0     -44  109.5   @ 0 -48
subnasale          0     -45    102   @ 0 -54
philtrum           0     -52  102.3
ls                 0     -58  105.3
vermU              0   -61.8  106.6
stoU               0   -65.3  102.8   @ 0 -73
stoL               0   -65.7  102.3   @ 0 -83
vermL              0     -70  104.8
li                 0   -74.6  101.8
sublabiale         0     -83     95
pogonion           0     -95   97.5
chin_low           0    -104   94.5
menton             0  -110.5     86   @ 0 -128
subment1           0    -113     73   @ 0 -142
subment2           0    -116     57   @ 0 -156
cervicale          0    -122     43   @ 0 -172
larynx             0    -142     43
neck_f             0    -165     37
neck_fb            0    -190     35
top_f1             0      93     64
top_f2             0     107     34
# profile, crown to nape
vertex             0   112.5      0
top_b1             0     107    -38
top_b2             0      88    -67
op_up              0      58  -84.5
opisthocranion     0      28    -89
occ_low            0       0  -86.5
inion              0     -25    -79
nape               0     -52    -69
nape2              0     -85    -63
neck_b             0    -125    -60
neck_b2            0    -160    -67
neck_bb            0    -190    -73
# cranium
eu                75      48    -12   ~ 400
side_fr         68.5      45     32   ~ 400
front_temp      55.5      33     71   ~ 300
temple            65      12     46   ~ 250
above_ear       73.5      12     -8
mastoid           66     -32    -30   ~ 400
back_lat          56      22    -62   ~ 400
back_lat2         46     -28    -62   ~ 400
back_up           52      70    -50
back_mid          28      45  -81.5
back_low          25     -10    -81
top_lat           46      97     -8
top_lat2          65      76    -10
ful1              40      66     82
ful2              36      88     58
ful3              58      62     52
# forehead and brow
fore_l1           25      44   99.5   ~ 300
fore_l2           45      45     86   ~ 300
fore_l3           20      64     93
brow_med          12      19   99.5
brow_mid          22      23     99
brow_peak         34      25     95
brow_tail         50      20     79
brow_lat          57      12     66   ~ 150
# orbit
rim_med           16      13     93
rim_sup           30    16.5     92
rim_lat           46      13     80
sulc_med        16.5     7.5     85
sulc              28      11   83.5
sulc_lat          42     8.5   76.5
orb_lat           53       1   67.5
med_canth       11.5       0     86
# cheeks and jaw
tear1             19     -10   83.5
tear2             29   -13.5     83
tear3             41   -10.5     77   ~ 60
ck_med            23     -24     87   @ 23 -24   ~ 150
malar             43     -22   80.5   ~ 150
malar2            34     -27   85.5   ~ 250
malar_lat         54     -15   66.5   ~ 250
zyg_ant           61     -13     54   ~ 250
zygion          66.5     -19     33   ~ 150
tragion         69.5     -22      4   ~ 200
cheek             35     -42   83.5   ~ 250
cheek_lat         48     -40   69.5   ~ 250
nasolab_up      22.5     -38   88.2   @ 27 -40
nasolab           27     -50   88.5   ~ 120
nasolab_low       32     -62   83.5   ~ 120
buccal            47     -58   67.5   ~ 250
buccal2         57.5     -44     50   ~ 300
parotid           66     -44     14   ~ 300
masseter          60     -60     30   ~ 300
gonion          52.6     -78     16
jaw_mid           45     -90     42   ~ 150
jaw_front         29    -102     69
chin_lat        14.5     -99     91
chin_latlow       15  -106.5     84
mario             29     -79   83.5   ~ 120
mario2            22     -90   86.5   ~ 120
jowl              42     -75   67.5   ~ 250
sublab_l          13     -83   92.5
# under the jaw and neck
ujaw1             16    -112     66   @ 16 -144   ~ 200
ujaw2             27    -110     50   @ 35 -142   ~ 200
ujaw3             37    -105     30   @ 62 -132   ~ 250
ujaw4           43.5     -97      6   @ 95 -124   ~ 250
neck_side0        51     -72    -22   ~ 400
neck_side       47.5    -110    -17   ~ 400
neck_side2      49.5    -145    -18   ~ 400
neck_side3        62    -190    -20
neck_fl1          28    -128     33   ~ 400
neck_fl2          36    -150     22   ~ 400
neck_fl3          38    -190     19
neck_bl           36     -95    -50
neck_bl2          37    -140    -52
neck_bl3          44    -190    -60
# nose
bridge_s           6       6   91.5
bridge_m         6.5      -4     97
bridge_l         6.3     -14  101.5
wall_u            11      -7   88.5
wall_m          12.3     -17   92.5
junction          17     -22     88
junction_l      19.5     -31   88.3   @ 22 -31
tip_s              7   -34.5  115.5   @ 7 -36.5
tip_u            6.5     -27    111
ala_u           14.3     -32    102   @ 14 -34.5
alar_gr           12     -26   99.5   @ 11.5 -27
alare           17.1     -38   98.5   @ 17.5 -41.5
ala_f             14     -37  106.5   @ 12.8 -39.5
ac              16.8   -40.5     91   @ 21.5 -45
sac             16.3     -32     93   @ 18.5 -34.5
sbal            13.2   -44.6     94   @ 17 -53
nr_lat          13.5     -43    100   @ 14.3 -48
nr_front         7.3   -41.3  111.5   @ 7.5 -42
nr_med           4.3     -44  105.5   @ 4.3 -48.5
nr_back          8.5   -44.8   97.5   @ 9 -54
nr_pit             9     -36    103   @ 9.3 -48.5
# lips
phil_r           5.2     -52  103.3
phil_l            12     -51   99.5
cph              5.6   -56.9  104.8
vbU1              14   -60.2    101
vbU2              21   -63.6   94.5
cheilion        26.3   -66.2   87.5   @ 23.2 -78
vmU1               9     -62  104.8
vmU2              17   -63.6   99.2
stoU1              9   -65.1  101.8   @ 7.1 -73
stoU2             18     -66   95.5   @ 15 -74.9
stoL1              9   -65.5  101.3   @ 7.1 -83
stoL2             18   -66.2   95.2   @ 15 -81.1
vmL1               9   -69.8  103.4
vmL2              17   -68.8     98
vbL1              10   -74.2   99.8
vbL2            18.5     -71   94.2
ch_out          30.5   -66.6   84.4
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
