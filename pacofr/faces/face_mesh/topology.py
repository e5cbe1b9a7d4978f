"""What is where among the 478 points of Face Mesh V2.

Sides are the subject's own. The order of points is MediaPipe's (canonical_face_model.obj, then five
points of each iris).
"""

import numpy as np

POINTS = 478
SKIN_POINTS = 468
"""Points of the skin; the irises follow."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
"""Outer corners of the eyes: their line gives roll, their distance the unit of errors."""
RIGHT_IRIS, LEFT_IRIS = slice(468, 473), slice(473, 478)
"""Five points each: the centre, then four on the iris' edge."""


def _mirror() -> np.ndarray:
    middle = [*range(3), 4, 5, 6, *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200]
    mirror = np.arange(POINTS)
    right = [point for point in range(248) if point not in middle]
    left = range(248, SKIN_POINTS)  # numbered in the order of the right side
    mirror[right], mirror[left] = left, right
    mirror[RIGHT_IRIS], mirror[LEFT_IRIS] = [473, 476, 475, 474, 477], [468, 471, 470, 469, 472]
    return mirror


MIRROR = _mirror()
"""Index of each point's mirror image."""

IBUG68 = np.array(
    [
        *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
        *(168, 197, 5, 4, 75, 97, 2, 326, 305),
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
        *(78, 82, 13, 312, 308, 317, 14, 87),
    ]
)
"""The point nearest to each of iBUG's 68 landmarks, in their order.

The contour is the 3D head's edge rather than the visible outline of iBUG's markup, and brows sit
10 to 13 % of the eye distance off.
"""

FACE_OVAL = np.array(
    [
        *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
        *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    ]
)
"""The mesh's boundary, closed, from the middle of the forehead to the subject's left."""
RIGHT_EYE = np.array(
    [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
)
"""Edge of the lids, closed: outer corner, lower lid, inner corner, upper lid."""
LEFT_EYE = MIRROR[RIGHT_EYE]
RIGHT_EYE_CENTRE = np.array([33, 133, 159, 145])
"""Points whose mean is the eye's centre: both corners and the middles of both lids."""
LEFT_EYE_CENTRE = MIRROR[RIGHT_EYE_CENTRE]
RIGHT_BROW = np.array([70, 63, 105, 66, 107, 46, 53, 52, 65, 55])
"""Upper, then lower edge, both from the outer end."""
LEFT_BROW = MIRROR[RIGHT_BROW]
OUTER_LIPS = np.array(
    [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
)
"""Edge of the lips, closed: right corner, lower lip, left corner, upper lip."""
INNER_LIPS = np.array(
    [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
)
"""The same where the lips meet."""

NOSE = np.array([1, 2, 4, 5, 6, 168, 98, 327, 97, 326, 129, 358, 195, 197, 48, 278, 64, 294])
"""Ridge, tip, base and wings."""
BETWEEN_FEATURES = np.array(
    [
        *(8, 9, 151, 18, 199, 200, 32, 262, 36, 266, 50, 280, 101, 330, 117, 346, 205, 425),
        *(212, 432, 214, 434, 216, 436),
    ]
)
"""Some points of forehead, cheeks and chin."""
