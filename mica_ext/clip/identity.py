"""One identity and one focal length for a clip, from its best frames together."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mica_ext.clip.candidates import crops_of
from mica_ext.clip.frame_fits import fit_frames
from mica_ext.clip.tracker import TrackedFace
from mica_ext.errors import UserError
from mica_ext.identity.same_person import merge_identities
from mica_ext.reconstruct import Reconstructor


class ClipIdentity(NamedTuple):
    """What all frames of a clip share."""

    shape: Float[Tensor, "1 S"]
    focal_px: float
    """At which the face is `FitConfig.default_distance_m` away in the middle one of the frames."""
    spread_mm: float | None
    """Of the neutral heads that the identity network gives of the frames; None without it."""


def identity_of_clip(
    reconstructor: Reconstructor, tracked: TrackedFace, size: tuple[int, int]
) -> ClipIdentity:
    """The identity of the frames that the tracker chose; `size` is width and height [px].

    The identity network's where the pack has one, from the mean embedding as with
    `--same-person`; else one that is fitted to the points of all of these frames together.

    Raises:
        UserError: they show two people, or no head fits them.
    """
    frames = tracked.candidates
    numbers = [frame.number for frame in frames]
    focal = float(
        fit_frames(reconstructor, tracked, numbers, size).parameters.camera.focal_px.median()
    )
    if reconstructor.identity is None:
        together = fit_frames(
            reconstructor, tracked, numbers, size, focal_px=focal, one_person=True
        )
        return ClipIdentity(together.parameters.head.shape[:1], focal, None)
    try:
        person = merge_identities(
            reconstructor.identity,
            reconstructor.decoder,
            crops_of(frames),
            torch.stack([frame.landmarks_px for frame in frames]),
            [f"the frame at {tracked.times_s[number]:.2f} s" for number in numbers],
        )
    except UserError as error:  # two people
        line = str(error).removeprefix("--same-person: ")
        raise UserError(f"{line}; a clip has one identity: cut the video between people") from error
    return ClipIdentity(person.identity.shape, focal, person.spread_mm)
