"""478 points of a detected face, also where the detector was well off it.

One crop suffices for a good detection. Where the points imply another crop than the one they were
read in, the face is cropped anew around them. Where the network is then not sure of a face, its
fallback reads it: Face Mesh loses faces turned by more than some 65 degrees, the student does not.
Else, as with one that the detector took to be upside down, the other three orientations are tried.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mica_ext.landmarks.readers import PointReader
from mica_ext.preprocess.align_face import DetectedPoints
from pacofr.faces.detect import Face
from pacofr.faces.face_mesh.region import Region, crop_region, region_of_five, region_of_points

MIN_CONFIDENCE = 0.5
"""Probability of a face below which other orientations are tried, and users are warned."""
MAX_PASSES = 4
MAX_SHIFT = 0.08
"""Distance of the crop read and the crop implied, over the side: more calls for another pass."""
MAX_GROWTH = 0.18
"""The same for the logarithm of the ratio of their sides."""
MAX_ROLL = 0.25
"""The same for the angle between them [rad]."""
PLAUSIBLE_GROWTH = 0.7
"""Change of size in one step beyond which the points are no face's."""


def detect_points(
    reader: PointReader, image: UInt8[np.ndarray, "H W 3"], face: Face
) -> DetectedPoints:
    """The points of `face` in an RGB photo."""
    region = region_of_five(
        face.points, reader.side_per_box, roll_from_mouth=reader.roll_from_mouth
    )
    detected = _read_following(reader, image, region)
    if detected.confidence >= MIN_CONFIDENCE:
        return detected
    if reader.fallback is not None:
        other = detect_points(reader.fallback, image, face)
        if other.confidence >= MIN_CONFIDENCE:
            return other
    turned = [
        _read_following(reader, image, region._replace(roll=region.roll + quarters * np.pi / 2))
        for quarters in (1, 2, 3)
    ]
    return max([detected, *turned], key=lambda each: each.confidence)


def follow_points(
    reader: PointReader, image: UInt8[np.ndarray, "H W 3"], before: Float[np.ndarray, "478 2"]
) -> DetectedPoints:
    """The points of a face whose points in the frame before are known: one crop where they stand.

    Where the face moved far from it, it is cropped anew, as in `detect_points`.
    """
    region = region_of_points(before, reader.side_per_box, roll_from_mouth=reader.roll_from_mouth)
    followed = _read_following(reader, image, region, passes=1)
    if followed.confidence >= MIN_CONFIDENCE or reader.fallback is None:
        return followed
    other = follow_points(reader.fallback, image, before)
    return max(followed, other, key=lambda each: each.confidence)


def _read_following(
    reader: PointReader,
    image: UInt8[np.ndarray, "H W 3"],
    region: Region,
    passes: int | None = None,
) -> DetectedPoints:
    """Crop and read until crop and points agree, `passes` to `MAX_PASSES` times."""
    least = reader.passes if passes is None else passes
    for number in range(1, MAX_PASSES + 1):
        pixels = torch.from_numpy(crop_region(image, region, reader.size))
        crop = pixels.permute(2, 0, 1)[None].float() / 255
        reading = reader.read(crop)
        matrix = torch.from_numpy(region.to_photo(reader.size)).float()
        points = reading.points[0] @ matrix[:, :2].T + matrix[:, 2]
        implied = region_of_points(
            points.numpy(), reader.side_per_box, roll_from_mouth=reader.roll_from_mouth
        )
        growth = abs(float(np.log(implied.side / region.side)))
        agree = number >= least and _agree(region, implied, growth)
        if agree or growth > PLAUSIBLE_GROWTH:
            break
        region = implied
    visibility, error, face = reader.confidence(crop, reading)
    return DetectedPoints(points, visibility[0], error[0], float(face[0]))


def _agree(region: Region, implied: Region, growth: float) -> bool:
    shift = float(np.linalg.norm(implied.centre - region.centre)) / region.side
    roll = abs((implied.roll - region.roll + np.pi) % (2 * np.pi) - np.pi)
    return shift < MAX_SHIFT and growth < MAX_GROWTH and roll < MAX_ROLL
