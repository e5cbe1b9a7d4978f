"""MICA's data set: neutral FLAME fits of eight sets of scans, with the people's photos.

    ROOT/NAME/FLAME_parameters/ACTOR/*.npz     betas [400], pose [15] of FLAME 2020
    ROOT/NAME/registrations/ACTOR/*.obj
    ROOT/NAME/images/ACTOR/*.jpg               as MICA's scripts copy them from the original sets,
    ROOT/NAME/arcface_input/ACTOR/*.jpg        or only their crops

The parameters are of one neutral scan; the photos have any expression.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from flame_assets.model.head import HeadModel
from mica_ext.data.mica_layout import CROPS, FITS, SHAPE_COUNT, read_shape
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError

PHOTO_FOLDERS = ("images", CROPS)
PHOTOS = (".jpg", ".jpeg", ".png", ".bmp")
NEUTRAL = ("NE00", "pose_0", "neutral")
"""Parts of the names of neutral scans in BU-3DFE, FaceWarehouse and others."""
NO_PHOTO = "person without photos"
BAD_PARAMETERS = "unreadable FLAME parameters"


class Actor(NamedTuple):
    """A person: identity and photos."""

    name: str
    """SET/ACTOR."""
    shape: Float32[np.ndarray, " S"]
    photos: tuple[Path, ...]


def find_actors(root: Path, head: HeadModel, skipped: SkipCounter) -> list[Actor]:
    """All people with parameters and photos.

    Raises:
        UserError: the folder has no such layout, or the head is not FLAME 2020's size.
    """
    places = sorted(root.glob(f"*/{FITS}"))
    if not places:
        raise UserError(f"{root}: expected NAME/{FITS}/ACTOR/*.npz, found none")
    if head.shape_count != SHAPE_COUNT:
        raise UserError(
            f"MICA's parameters belong to FLAME 2020 with {SHAPE_COUNT} identity modes, got the "
            f"head {head.name} with {head.shape_count}; give --head flame2020"
        )
    actors = []
    for place in places:
        for folder in sorted(path for path in place.iterdir() if path.is_dir()):
            name = f"{place.parent.name}/{folder.name}"
            photos = _photos(place.parent, folder.name)
            if not photos:
                skipped.add(NO_PHOTO, name)
                continue
            shape = _shape(folder, skipped)
            if shape is not None:
                actors.append(Actor(name, shape, photos))
    return actors


def _photos(place: Path, actor: str) -> tuple[Path, ...]:
    for kind in PHOTO_FOLDERS:
        folder = place / kind / actor
        if folder.is_dir():
            found = (path for path in folder.iterdir() if path.name[0] != ".")
            return tuple(sorted(path for path in found if path.suffix.lower() in PHOTOS))
    return ()


def _shape(folder: Path, skipped: SkipCounter) -> Float32[np.ndarray, " S"] | None:
    files = sorted(folder.glob("[!.]*.npz"))
    neutral = [path for path in files if any(part in path.name for part in NEUTRAL)]
    path = next(iter(neutral or files), None)
    if path is None:
        skipped.add(BAD_PARAMETERS, f"{folder}: no .npz")
        return None
    try:
        return read_shape(path)
    except UserError as error:
        skipped.add(BAD_PARAMETERS, str(error))
        return None
