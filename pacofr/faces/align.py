"""Face alignment from five points: the ArcFace crop and the FFHQ crop.

Pixel coordinates are (x, y) with pixel centres at whole numbers, as OpenCV has them. "Left" and
"right" of the five points are those of the image, the order is ArcFace's and MTCNN's: left eye,
right eye, nose tip, left mouth corner, right mouth corner.
"""

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

ARCFACE_POINTS_112 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where ArcFace's training put the five points in its 112-pixel crop (insightface)."""

FIVE_OF_68 = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))

IMAGENET_MEAN_COLOUR = (124, 116, 104)
"""Background of the FFHQ crop, RGB."""

SUPERSAMPLED_ABOVE = 2.0
"""From this many photo pixels per crop pixel on, the photo is shrunk before it is warped."""


def five_points(landmarks: Shaped[np.ndarray, "68 2"]) -> Float[np.ndarray, "5 2"]:
    """Five points from 68 in iBUG order: eye centres, nose tip, mouth corners."""
    points = np.asarray(landmarks, dtype=np.float64)
    return np.stack([points[part].mean(axis=0) for part in FIVE_OF_68])


def similarity(
    source: Shaped[np.ndarray, "n 2"], target: Shaped[np.ndarray, "n 2"]
) -> Float[np.ndarray, "2 3"]:
    """Least-squares similarity source -> target [px] (Umeyama 1991; never a reflection).

    In float32, as scikit-image computes it for insightface: OpenCV rounds warps to 1/32 pixel,
    so that the last bits of the matrix show as grey levels in the crop.
    """
    source, target = source.astype(np.float32), target.astype(np.float32)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred, aimed = source - source_mean, target - target_mean
    u, s, v = np.linalg.svd(aimed.T @ centred / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u @ v)) or 1.0])
    rotation = u @ np.diag(signs) @ v
    scale = 1 / max(centred.var(axis=0).sum(), np.float32(1e-12)) * (s @ signs)
    return np.column_stack([scale * rotation, target_mean - scale * (rotation @ source_mean)])


def arcface_matrix(points: Shaped[np.ndarray, "5 2"], size: int = 112) -> Float[np.ndarray, "2 3"]:
    """Photo -> ArcFace crop of `size` pixels (a multiple of 112), as insightface's norm_crop."""
    return similarity(points, ARCFACE_POINTS_112 * (size / 112))


def arcface_crop(
    image: UInt8[np.ndarray, "H W 3"], points: Shaped[np.ndarray, "5 2"], size: int = 112
) -> UInt8[np.ndarray, "size size 3"]:
    """RGB crop by plain bilinear sampling, black outside the photo: what ArcFace was trained on."""
    return cv2.warpAffine(image, arcface_matrix(points, size), (size, size), borderValue=0.0)


def ffhq_quad(points: Shaped[np.ndarray, "n 2"]) -> Float[np.ndarray, "4 2"]:
    """Corners TL, BL, BR, TR of the FFHQ crop in photo pixels, from 5 or from 68 points.

    The nose is not used: the scale depends on the eyes' distance and the eyes-to-mouth distance.
    """
    if len(points) not in (5, 68):
        raise ValueError(f"expected 5 or 68 points, got {len(points)}")
    five = five_points(points) if len(points) == 68 else np.asarray(points, np.float64)
    left_eye, right_eye, _, left_mouth, right_mouth = five
    eyes = (left_eye + right_eye) / 2
    across, down = right_eye - left_eye, (left_mouth + right_mouth) / 2 - eyes
    x = across - np.array([-down[1], down[0]])
    x *= max(2 * np.hypot(*across), 1.8 * np.hypot(*down)) / max(np.hypot(*x), 1e-12)
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def ffhq_matrix(
    points: Shaped[np.ndarray, "n 2"], size: int = 200, canvas: int = 256, output: int = 224
) -> Float[np.ndarray, "2 3"]:
    """Photo -> pixels of the canvas resized to `output`, whose middle `size` of `canvas` is face.

    Pixel centres are whole numbers on both sides, while the quad's corners are pixel corners.
    """
    top_left, bottom_left, _, top_right = ffhq_quad(points)
    side = np.hypot(*(top_right - top_left))
    along_x, along_y = (top_right - top_left) / side, (bottom_left - top_left) / side
    scale = size / side * output / canvas
    linear = np.stack([along_x, along_y]) * scale
    border = (canvas - size) / 2 * output / canvas
    return np.column_stack([linear, border - 0.5 - linear @ top_left])


def ffhq_crop(
    image: UInt8[np.ndarray, "H W 3"],
    points: Shaped[np.ndarray, "n 2"],
    size: int = 200,
    canvas: int = 256,
) -> UInt8[np.ndarray, "canvas canvas 3"]:
    """FFHQ-aligned face of `size` pixels in the middle of a uniform `canvas` (PaCo-FR, 4.1).

    Where the quad leaves the photo the photo is mirrored. The uniform background is the
    ImageNet mean colour, zero after normalisation.
    """
    face = warp_face(image, ffhq_matrix(points, size, size, size), size)
    before = (canvas - size) // 2
    after = canvas - size - before
    sides = (before, after, before, after)
    return cv2.copyMakeBorder(face, *sides, cv2.BORDER_CONSTANT, value=IMAGENET_MEAN_COLOUR)


def warp_face(
    image: UInt8[np.ndarray, "H W 3"], matrix: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """Antialiased similarity warp: large reductions first shrink the part of the photo in use."""
    reduction = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if reduction >= SUPERSAMPLED_ABOVE:
        image, matrix = _shrunk(image, matrix, size, int(reduction))
    return cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def _shrunk(
    image: UInt8[np.ndarray, "H W 3"], matrix: Float[np.ndarray, "2 3"], size: int, factor: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "2 3"]]:
    """The photo's part under the crop made `factor` times smaller by area, and its matrix."""
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]) - [0.5, 0.5, 0]
    inverse = cv2.invertAffineTransform(matrix)
    reach = corners @ inverse.T
    height, width = image.shape[:2]
    margin = 2 * factor
    x0, y0 = np.clip(np.floor(reach.min(axis=0)) - margin, 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(reach.max(axis=0)) + margin, 1, [width, height]).astype(int)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    new_width, new_height = max((x1 - x0) // factor, 1), max((y1 - y0) // factor, 1)
    small = cv2.resize(image[y0:y1, x0:x1], (new_width, new_height), interpolation=cv2.INTER_AREA)
    step = np.array([(x1 - x0) / new_width, (y1 - y0) / new_height])
    linear = matrix[:, :2] * step
    # small pixel p lies at x0 + (p + .5) * step - .5 in the photo
    offset = matrix[:, :2] @ (np.array([x0, y0]) + 0.5 * step - 0.5) + matrix[:, 2]
    return small, np.column_stack([linear, offset])
