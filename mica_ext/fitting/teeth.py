"""How far jaws may be open, from the picture between the lips.

Points of a toothy smile are the same whether the jaw is open or shut: lips part by the jaw or by
their own muscles. The picture tells: teeth down to the lower lip mean a jaw that is nearly shut, a
dark gap or a tongue below the upper teeth means an open one. Profiles run from the upper to the
lower inner lip; teeth are brighter than the lower lip, and less red where the photo has colour.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

UPPER, LOWER = (82, 13, 312), (87, 14, 317)
"""Ends of the profiles that are judged: Face Mesh's inner lips, about the middle."""
UPPER_BESIDE, LOWER_BESIDE = (80, 81, 311, 310), (88, 178, 402, 318)
"""Ends of further profiles, which tell with them how bright and red teeth are."""
LIP_INSIDE, LIP_OUTSIDE = (87, 14, 317), (84, 17, 314)
"""Borders of the lower lip."""
CHEEKS = (50, 280, 205, 425)
EYE_CORNERS = (33, 263)
SAMPLES = 24
"""Of a profile."""
LUMA = (0.2126, 0.7152, 0.0722)
TEETH_LUMA, TEETH_REDNESS = 0.42, 0.6
"""Least luminance of teeth over the brightest ones, and how far from the teeth's red towards the
lip's they may be."""
MIN_CONTRAST = 0.04
"""Difference in redness of lip and teeth from which redness counts."""
FIRST_TEETH = 0.6
"""Upper teeth begin in this upper share of a profile."""
SHARES = (0.3, 0.5)
"""Share of the profiles below the first teeth that shows none: up to which the jaw is shut (the
lower lip's edge is dark), and from which it is open."""
TONGUE_BRIGHTNESS = (1.5, 2.0)
"""Ramp of luminance over the lower lip's, where something nearly as red counts as a tongue."""
SHUT, LIPS_APART, BY_LIPS = 0.06, 0.13, 6.0
"""jawOpen of shut jaws with lips up to this far apart [eye corner distances], and its rise beyond:
teeth of a shut jaw fill no more."""
MOUTH_SEEN = 0.6
"""Share of the mouth's points that must be seen for the picture to count."""


class MouthPicture(NamedTuple):
    """What stands between the lips."""

    gap_share: Float[Tensor, " B"]
    """Part of the profiles below the first teeth that shows no teeth; 1 without any teeth."""
    brightness: Float[Tensor, " B"]
    """Luminance of the brightest parts over the lower lip's."""
    contrast: Float[Tensor, " B"]
    """Redness of the lower lip minus theirs; 0 in black and white photos."""
    lip_redness: Float[Tensor, " B"]
    """Red over the sum of the lower lip's colours; a third without colour."""
    lit: Float[Tensor, " B"]
    """Their luminance over the cheeks'."""
    lips_apart: Float[Tensor, " B"]
    """Distance of the inner lips over that of the outer eye corners."""


def jaw_limits(
    crops: Float[Tensor, "B 3 height width"], points: Float[Tensor, "B 478 2"]
) -> Float[Tensor, " B"]:
    """Upper bounds of ARKit's jawOpen, 1 where the picture shows no teeth that fill the mouth.

    Args:
        crops: faces, sRGB in [0, 1].
        points: in the crops [px].
    """
    seen = look_between_lips(crops, points)
    in_colour = _ramp(seen.contrast, 0.03, 0.08) * _ramp(seen.brightness, 0.6, 0.9)
    in_grey = _ramp(seen.brightness, 1.15, 1.45) * (seen.contrast.abs() < 0.05)
    in_shade = torch.maximum(in_colour, in_grey) * _ramp(seen.lit, 0.25, 0.5)
    by_pale_lips = _ramp(seen.contrast, 0.005, 0.03) * _ramp(seen.brightness, 0.6, 0.85)
    without_colour = _ramp(seen.brightness, 0.75, 0.95) * ((seen.lip_redness - 1 / 3).abs() < 0.01)
    as_light_as_skin = torch.maximum(by_pale_lips, without_colour) * _ramp(seen.lit, 0.6, 0.78)
    as_light_as_skin *= 1 - _ramp(seen.brightness, *TONGUE_BRIGHTNESS)
    are_teeth = torch.maximum(in_shade, as_light_as_skin)
    shut = are_teeth * (1 - _ramp(seen.gap_share, *SHARES))
    least = (SHUT + BY_LIPS * (seen.lips_apart - LIPS_APART).clamp(min=0)).clamp(max=1)
    return 1 - shut * (1 - least)


def jaw_limits_of_faces(
    crops: Float[Tensor, "B 3 height width"],
    crop_to_photo: Float[Tensor, "B 2 3"],
    points_px: Float[Tensor, "B 478 2"],
    mouth_visibility: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """`jaw_limits` of faces with points in their photos; 1 of those whose mouth is hidden.

    Args:
        crops: faces, sRGB in [0, 1].
        crop_to_photo: affine maps of pixels.
        points_px: in the photos.
        mouth_visibility: share of the mouth's points that can be seen.
    """
    to_photo = crop_to_photo.double()
    moved = points_px.double() - to_photo[:, None, :, 2]
    in_crop = torch.linalg.solve(to_photo[..., :2], moved.transpose(1, 2)).transpose(1, 2)
    limits = jaw_limits(crops, in_crop.to(crops))
    return torch.where(mouth_visibility >= MOUTH_SEEN, limits, 1.0)


def look_between_lips(
    crops: Float[Tensor, "B 3 height width"], points: Float[Tensor, "B 478 2"]
) -> MouthPicture:
    """Measure the picture along the profiles; arguments as of `jaw_limits`."""
    upper, lower = points[:, UPPER + UPPER_BESIDE], points[:, LOWER + LOWER_BESIDE]
    t = ((torch.arange(SAMPLES) + 0.5) / SAMPLES)[:, None]
    profiles = torch.lerp(upper[:, :, None], lower[:, :, None], t)
    lip = torch.lerp(points[:, LIP_INSIDE], points[:, LIP_OUTSIDE], 0.55)
    places = torch.cat([profiles.flatten(1, 2), lip, points[:, CHEEKS]], 1)
    found = _look_up(crops, places[:, None])[:, 0].clamp(0, 1) ** 2.2
    counts = [profiles.shape[1] * SAMPLES, len(LIP_INSIDE), len(CHEEKS)]
    colours, lip_colour, cheek_colour = found.split(counts, 1)
    colours = colours.unflatten(1, (-1, SAMPLES))
    lip_colour, cheek_colour = lip_colour.mean(1), cheek_colour.mean(1)
    luma = colours @ torch.tensor(LUMA)
    flat = luma.flatten(1)
    brightest = flat.quantile(0.9, dim=1)
    redness, lip_redness = _redness(colours), _redness(lip_colour)
    bright = flat >= flat.quantile(0.75, dim=1, keepdim=True)
    teeth_redness = redness.flatten(1).masked_fill(~bright, torch.nan).nanmedian(dim=1).values
    contrast = lip_redness - teeth_redness
    teeth = luma > TEETH_LUMA * brightest[:, None, None]
    most = torch.where(contrast > MIN_CONTRAST, teeth_redness + TEETH_REDNESS * contrast, 1.0)
    teeth &= redness < most[:, None, None]
    eyes = (points[:, EYE_CORNERS[0]] - points[:, EYE_CORNERS[1]]).norm(dim=-1)
    dark = torch.tensor(1e-3)
    return MouthPicture(
        _gap_share(teeth[:, : len(UPPER)]),
        brightest / torch.maximum(lip_colour @ torch.tensor(LUMA), dark),
        contrast,
        lip_redness,
        brightest / torch.maximum(cheek_colour @ torch.tensor(LUMA), dark),
        (upper - lower).norm(dim=-1).mean(1) / eyes.clamp(min=1e-6),
    )


def _gap_share(teeth: Bool[Tensor, "B profiles samples"]) -> Float[Tensor, " B"]:
    begun = teeth.clone()
    begun[..., int(FIRST_TEETH * SAMPLES) :] = False
    below = begun.cumsum(-1) > 0
    share = (below & ~teeth).float().mean(-1)
    return torch.where(begun.any(-1), share, 1.0).mean(-1)


def _look_up(
    pictures: Float[Tensor, "B C height width"], places: Float[Tensor, "B n m 2"]
) -> Float[Tensor, "B n m C"]:
    """Values at places (column, row) [px]."""
    height, width = pictures.shape[-2:]
    size = torch.tensor([width, height], dtype=places.dtype)
    grid = (2 * places + 1) / size - 1
    found = grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1)


def _redness(colours: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    return colours[..., 0] / colours.sum(-1).clamp(min=1e-4)


def _ramp(values: Float[Tensor, " B"], low: float, high: float) -> Float[Tensor, " B"]:
    """0 below `low`, 1 above `high`, a smooth cubic between."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
