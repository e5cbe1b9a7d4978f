"""Fine control points of the neutral half face: lid folds, nose, nostrils, lips, brow ridge.

One line per point: `name u v x y z`, its place in the parameter domain and the point the surface
passes through there [mm; axes as in `controls`]. They stand too close together to be moved one by
one, so identities and expressions move only the named controls of `controls`, and the surface
through these points rides on them as a relief (`surface/relief.py`).

The figures are fitted to the mean of ICT-FaceKit's scans (MIT) as those of `controls` are: a
displacement with a small Laplacian that brings the surface to that mean, point to plane in both
directions, read at these points; no vertex of it is copied. Three things that a mean blurs or
leaves open were added by hand: the crease of the upper lid is .35 mm deep, the nostrils end in a
cavity behind the sill, and the groove of the philtrum is .3 mm deeper.
`tests/bench/anthro_proportions.py` measures angles between normals.

    lid_edge lid_crease lid_fold   around the eye by points of the margin (0 inner canthus, 8 top,
                  16 outer canthus), 1.4, 3.0 and 4.8 mm from it: front edge of the lid, crease of
                  the upper lid, the fold over it
    root          root of the nose between the eyes
    naris         inside of the nostril
"""

from typing import NamedTuple


class FineControl(NamedTuple):
    """One point: its place (u, v) in the domain and its position, both in mm."""

    name: str
    place: tuple[float, float]
    position: tuple[float, float, float]


TABLE = """
# lid_edge
lid_edge0       16.4    -2.4    16.75    -2.52   83.44
lid_edge1       17.2    -0.2    17.78    -0.63    83.2
lid_edge2       18.3     1.2    19.62      0.1   83.54
lid_edge3       19.4     2.3    20.87     1.32   84.22
lid_edge4       20.7     3.4    22.44     2.74   85.08
lid_edge5       22.3     4.5    24.54     3.89   86.03
lid_edge6       24.1     5.3    26.79     4.65   86.95
lid_edge7       26.1     5.8    29.25     5.22   87.64
lid_edge8       28.2     6.1     31.9     5.41   87.92
lid_edge9       30.3     6.1    34.54     5.25   87.69
lid_edge10      32.5     5.7    37.11     4.74   86.81
lid_edge11      34.6     5.2    39.33     4.09   85.63
lid_edge12      36.7     4.5    41.37     3.35   84.14
lid_edge13      38.7     3.7    42.98     2.41   82.34
lid_edge14      40.6     2.8    43.99     1.21   80.23
lid_edge15      42.9     1.7    46.01     0.54   77.66
lid_edge16        44    -0.6    46.71    -0.93   76.05
lid_edge17      42.7    -2.5    45.63    -2.06   77.29
lid_edge18      40.7    -3.4     44.4    -3.24   79.23
lid_edge19      38.8    -4.2    43.01    -5.02   80.62
lid_edge20      36.9    -5.1    41.15    -6.06   81.97
lid_edge21      34.8      -6    38.94    -6.77   83.29
lid_edge22      32.7    -6.6    36.61    -7.22   84.17
lid_edge23      30.5    -6.9    34.14    -7.36   84.94
lid_edge24      28.3      -7    31.52    -7.59   85.14
lid_edge25      26.2    -6.7    29.05    -7.14   85.36
lid_edge26      24.3    -6.2    26.69    -6.69    85.1
lid_edge28      21.1    -5.1    22.54    -4.92   84.26
lid_edge30      18.9    -4.2    19.61    -3.75   83.28
lid_edge31        18    -3.9     18.6    -3.72   82.99
# lid_crease
lid_crease0     14.8    -2.4    15.14    -2.44   84.35
lid_crease1     15.8     0.7    16.34     0.41   83.79
lid_crease2     17.1     2.2    18.13     1.49   84.03
lid_crease3     18.3     3.5    19.61        3   84.52
lid_crease4     19.7     4.7     21.4     4.56   85.26
lid_crease5     21.5     5.9    23.81     6.04   86.02
lid_crease6     23.6     6.8    26.44     7.15   86.81
lid_crease7     25.8     7.4    29.14     7.89   87.37
lid_crease8     28.1     7.7    32.07     8.02   87.53
lid_crease9     30.5     7.7    35.03     7.79   87.21
lid_crease10    32.8     7.3    37.68     7.21    86.5
lid_crease11    35.1     6.7    40.09     6.36   85.42
lid_crease12    37.3       6    42.18     5.39    84.1
lid_crease13    39.3     5.1    43.87     4.08    82.6
lid_crease14    41.3     4.3    45.38     2.71   80.84
lid_crease15    43.9     2.9    47.31     1.84   77.62
lid_crease16    45.6    -0.5    48.13    -0.92      75
lid_crease17    43.5    -3.9    46.32    -3.59   76.69
lid_crease18    41.4    -4.8    44.97    -4.69   78.74
lid_crease20    37.5    -6.6     41.6    -7.43   81.47
lid_crease22      33    -8.2    36.79    -8.69   83.75
lid_crease24    28.2    -8.5     31.3    -8.94   84.83
lid_crease26    23.8    -7.7    26.04    -8.13   84.83
lid_crease28    20.5    -6.6    21.89    -6.51   84.42
lid_crease30    18.4    -5.7    19.26    -5.11   84.13
# lid_fold
lid_fold0         13    -2.4    13.32    -2.36   85.33
lid_fold1       14.3     1.6    14.79     1.48   84.69
lid_fold2       15.8     3.4    16.82     2.91   84.78
lid_fold3         17     4.8    18.52     4.26   85.31
lid_fold4       18.7     6.2     20.8     5.75   86.01
lid_fold5       20.7     7.5    23.37     7.21   86.63
lid_fold6       22.9     8.5    26.04     8.23   87.29
lid_fold7       25.4     9.2    28.96     8.93   87.82
lid_fold8         28     9.5    32.11     9.08   87.93
lid_fold9       30.6     9.4    35.22     8.81   87.56
lid_fold10      33.2     9.1    38.18     8.41   86.79
lid_fold11      35.6     8.5    40.69     7.81   85.64
lid_fold12      37.9     7.7    42.86     7.03   84.19
lid_fold13      40.1     6.8    44.77     6.09   82.55
lid_fold14      42.1     5.9    46.38     5.04   80.69
lid_fold15        45     4.3    48.77     3.61    77.6
lid_fold16      47.4    -0.5    49.75    -0.88   73.79
lid_fold17      44.5    -5.4    47.19    -5.26   75.86
lid_fold18      42.1    -6.5    45.46    -6.54      78
lid_fold20      38.2    -8.3    41.98    -8.81   80.74
lid_fold22      33.4    -9.9    36.94   -10.17   82.96
lid_fold24      28.1   -10.3       31   -10.44   84.27
lid_fold26      23.3    -9.5    25.43    -9.75   84.51
lid_fold28      19.8    -8.2    21.08     -8.3   84.34
lid_fold30      17.8    -7.4    18.75    -7.31   84.46
# socket
socket0         17.1    16.7    21.04    16.57   96.44
socket1         10.3    16.5    12.84     16.9   98.16
socket2         29.4    13.5    34.85    13.73   89.82
socket3         44.2      12    50.52    12.15   82.17
socket4         25.7    11.9    29.97    11.82   89.47
socket5         22.3    11.6    26.04    11.82    90.1
socket6         35.3    11.5    41.27    11.29   87.09
socket7         52.4      11    56.89    10.57   74.46
socket8         40.8    10.3    46.86    10.19   83.94
socket9         16.6     9.7    19.01     9.88   89.91
socket10        14.1     7.7    15.71     7.73   89.01
socket11        44.2     6.9    49.08     6.45   79.92
socket12        45.4     1.5    48.35     0.23   75.91
socket13        10.6    -2.7    10.88    -2.55   87.42
# brow
brow0           11.5    41.6    13.93    41.84   95.08
brow1           34.7    31.7    40.31    31.74      87
brow2           32.2    24.8    38.75    24.87    90.7
brow3           54.4    23.8    56.87    23.85   71.02
brow4           59.4    23.2    59.92    23.15   65.79
brow5           46.9    21.6    52.71    21.91      79
brow6             38      21    45.06    20.88   87.53
brow7            7.4    18.6     9.31    18.67   98.87
brow8           43.6    18.5    50.58    18.79   82.98
# root
root0            3.3     7.7        4     7.58   96.67
root1              0     6.6        0     7.03   97.27
root2            6.5     5.4     7.96     5.36   93.87
root3             10     3.5    10.81     3.76    88.8
# bridge
bridge0          3.5    -1.2     4.78    -1.43   97.26
bridge1          6.4    -7.6     7.76    -7.22   96.31
bridge2            3    -9.1        4    -8.94  102.73
bridge3            0   -12.6        0   -12.83  106.67
bridge4            0   -19.1        0   -18.91  111.05
# tear
tear0           15.7    -4.3    16.27    -4.33   84.31
tear1           13.9    -8.9    15.11    -8.92   86.28
tear2           38.4   -11.5    41.89   -11.66   80.24
tear3           16.7   -12.7    18.34   -12.92   86.28
tear4           13.7   -13.5    15.63    -13.5   89.19
tear5           27.9   -14.9    30.38   -14.82   84.12
tear6           18.2   -17.4    20.67   -17.71    87.4
tear7           33.7     -18    37.06   -18.11   82.88
tear8           30.4   -20.3    33.13   -20.82   84.12
# temple
temple0         65.5    -0.1    63.13    -0.24   59.08
temple1         61.1    -2.5    60.38    -2.66   63.14
temple2         70.3    -2.8    65.88    -2.83   54.64
temple3         53.3    -7.2    54.56    -7.33   69.53
# nose
nose0            9.6   -23.5    10.94   -22.91  101.77
nose1            3.7   -27.8     5.16   -27.33  114.83
nose2            8.1   -28.4     9.52   -26.74  109.19
nose3             13   -30.3    13.03    -28.3  100.77
nose4            7.8   -30.8     9.25   -28.43  111.24
nose5             14   -35.6    15.96   -33.39  101.65
nose6           16.6   -37.3    17.82   -35.11   97.44
nose7            8.3   -37.5    10.18   -35.67  113.31
nose8            6.5   -38.3      7.9   -37.01  115.64
nose9           19.9   -38.5    18.32   -36.61   92.66
nose10            23   -38.6    19.72   -37.02   90.51
nose11          11.1   -38.7    13.76   -36.24  108.04
nose12           1.8   -39.6     1.88   -39.04  117.94
nose13           8.5     -42     9.45   -39.75  110.84
nose14            20     -42    18.37   -39.73   92.65
nose15          17.8   -42.9    18.41   -40.87   95.42
nose16           6.6   -43.2     6.55   -41.27  112.11
nose17          22.9   -43.9    19.46   -40.85    90.3
nose18           9.1   -44.1     9.08   -39.73   108.2
nose19          16.3   -44.6    17.59   -42.35   97.15
nose20           4.5   -44.9     4.66   -42.87  111.67
nose21          11.6     -45    13.93   -40.54  104.33
nose22          19.6   -45.3    17.49    -42.6    92.3
nose23           7.1   -45.4     5.95   -40.72  109.81
nose24          14.3   -46.5    15.35   -43.82   98.39
nose25           5.5   -46.8     4.49   -42.25  108.55
nose26           5.2   -48.8     4.08    -43.1  106.16
nose27          13.1     -49    13.82   -44.28   97.68
nose28          15.9   -49.3    14.34   -45.13   95.93
nose29           2.9     -50     2.28   -45.46  106.13
nose30           5.1   -50.7     4.53   -43.82  104.19
nose31          11.3   -51.2     9.57   -43.47   99.05
nose32           8.7   -51.9     6.51   -43.49  101.38
nose33             4   -52.4     3.34   -46.07  103.37
nose34           6.4   -52.4     5.77   -44.84  102.04
nose35          12.8     -53    11.34   -46.58   97.14
nose36           9.8   -53.1     8.73   -45.78   99.58
nose37          11.4   -53.7    10.25   -46.92   98.02
nose38          14.5   -53.7    12.28    -47.3   96.18
nose39          16.5     -54    13.44   -47.55    95.3
nose40           7.9   -54.3     7.57   -47.78  100.45
nose41           5.2   -54.7     5.52   -48.45  101.67
nose42          12.9   -55.2    11.78   -48.65   97.07
nose43           3.5   -56.1     4.02    -50.5  102.32
nose44             0   -56.5        0   -51.09  102.06
# naris
naris0           9.5   -46.6     9.75   -36.98  105.26
naris1          11.9   -47.1       13   -40.18  101.94
naris2           7.3   -47.7     6.34   -38.16  105.44
naris3           8.8   -48.6     8.48   -39.04  101.46
naris4          10.8   -48.8    11.82   -43.25   97.16
naris5           7.2   -50.1     6.28   -42.96    99.6
naris6           9.4   -50.2        9   -43.92    96.8
# philtrum
philtrum0        5.2   -57.4     6.37   -52.26  101.93
philtrum1        5.2   -60.2     6.61   -55.96  102.74
philtrum2          0   -60.8        0   -56.81  102.01
philtrum3        8.5     -61    11.13   -57.04  100.94
philtrum4        3.3   -62.9     4.39    -58.8  104.11
philtrum5          0   -65.8        0   -61.93  104.86
# lip
lip0            25.4   -41.1    21.82    -39.1   89.57
lip1            27.6   -49.7    26.76   -46.02   88.87
lip2            18.4   -65.1    21.55   -61.16   94.79
lip3             4.8   -67.6     6.24   -63.83  103.62
lip4            12.5   -67.6    15.69      -64    99.3
lip5               3   -71.4     3.83   -68.18  101.18
lip6             5.9   -71.5     7.47   -68.24  100.33
lip7             4.4     -72     5.52   -68.45   99.97
lip8             7.3   -72.3     8.99   -68.61   98.79
lip9            11.5   -72.6     13.8   -68.79    96.6
lip10           16.9   -72.7    19.73   -69.02   92.69
lip11           26.2   -73.4    29.73    -68.7   87.66
lip12           24.4   -79.5    27.18      -71   87.26
lip13             27   -79.6    30.04   -71.05   86.44
lip14           23.1   -81.6    25.64   -71.59    87.5
lip15           15.2   -82.2    17.38   -70.71   91.86
lip16           23.5   -82.5    26.12   -71.98   87.07
lip17           12.7   -82.9     14.9    -70.8   94.43
lip18           14.2   -83.2    16.51   -71.29   93.28
lip19            7.3     -84     9.07      -71    98.5
lip20            4.4   -84.2     5.59   -71.26   99.46
lip21            1.5   -84.4     1.93   -71.41   99.89
lip22            4.7   -86.3     6.03   -73.17   100.7
lip23           24.2   -86.6    26.82   -73.93   86.53
lip24           15.8   -89.6    18.96   -76.88   93.49
lip25            3.3   -92.7      4.2   -80.04  100.39
lip26           13.6   -93.8    16.16   -80.79   94.15
lip27              0   -95.9        0   -82.51   97.33
# chin
chin0            4.2   -99.8     4.97   -85.59   93.96
chin1              0  -102.4        0   -88.61   93.67
chin2            3.5  -108.9     4.19   -94.53   94.09
chin3              0  -116.6        0  -102.02   93.88
chin4           33.3  -117.3    31.28   -103.2   70.72
chin5           22.9  -121.2    23.35   -106.7   79.43
chin6             35  -122.3    30.83   -105.9   65.56
chin7            4.1  -123.1     4.76  -108.87   89.95
chin8              0  -134.6        0  -114.87   78.22
# cheek
cheek0          34.9   -26.1    37.71   -26.55   84.03
cheek1          36.8   -30.1    39.84   -30.26   83.88
cheek2          32.6   -41.1    32.11   -39.81   87.73
cheek3          74.5   -45.8    65.71   -42.72   49.14
cheek4          67.7   -50.7    62.47   -47.07   55.61
cheek5          62.8   -53.4    60.01   -49.73   59.81
cheek6          34.2     -70    37.43   -65.59   82.65
cheek7          29.1     -73    32.78   -68.33   85.93
cheek8          36.7   -90.1    38.62    -77.8    77.7
cheek9          39.3   -94.5    39.79   -81.83   74.85
cheek10         50.1  -109.6    42.72   -95.04   58.72
"""


def _parse(line: str) -> FineControl:
    name, *words = line.split()
    u, v, x, y, z = (float(word) for word in words)
    return FineControl(name, (u, v), (x, y, z))


FINE_CONTROLS: tuple[FineControl, ...] = tuple(
    _parse(line) for line in TABLE.splitlines() if line and not line.startswith("#")
)
