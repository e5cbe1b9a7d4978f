"""Parameter files as commands read them: with their head, on another head, with their photo."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from flame_assets.errors import UserError as HeadError
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import load_head
from mica_ext.editing.other_head import carry_face
from mica_ext.errors import UserError
from mica_ext.export.clip_json import is_clip, load_clip
from mica_ext.export.face_json import SavedFace, load_face, require_head
from mica_ext.reconstruction import RgbImage
from pacofr.images.load import load_image


class LoadedFace(NamedTuple):
    """A face and the head that its parameters are of."""

    face: SavedFace
    decoder: HeadDecoder
    carried: str
    """What was done to bring it to another head, for people; empty on its own."""


def load_saved_face(path: Path, head: str | None = None) -> LoadedFace:
    """The face of a parameter file, on `head` if that is another than the file's.

    Raises:
        UserError: if the file cannot be read, or a head is missing or is no face.
    """
    face = read_face(path)
    wanted = face.provenance.head.name
    if head is None:
        return _on_own_head(face, wanted)
    given = load_head(head)
    if given.name == wanted:
        _require_own(face, given)
        return LoadedFace(face, HeadDecoder(given), "")
    try:
        own = _on_own_head(face, wanted).decoder
    except HeadError as error:
        raise UserError(
            f"{path}: to bring it to {given.name}, its own head is needed: {error}"
        ) from error
    decoder = HeadDecoder(given)
    carried, distance = carry_face(face, own, decoder)
    line = f"{wanted} -> {given.name}: skins {distance:.2f} mm apart (root mean square)"
    return LoadedFace(carried, decoder, line)


def read_face(path: Path) -> SavedFace:
    """The face of a parameter file, or of a frame of a video's: `clip.json@SECONDS`.

    Raises:
        UserError: if the file cannot be read, or the moment is missing or not in the video.
    """
    name, sign, moment = path.name.rpartition("@")
    if path.exists() or not sign:
        if is_clip(path):
            raise UserError(
                f"{path}: holds the frames of a video; expected the moment of one, such as "
                f"{path}@1.5 (seconds)"
            )
        return load_face(path)
    clip = load_clip(path.with_name(name))
    try:
        time_s = float(moment)
    except ValueError:
        time_s = np.nan
    end_s = float(clip.times_s[-1])
    if not 0 <= time_s <= end_s:
        raise UserError(f"{path}: expected a moment from 0 to {end_s:.2f} s after the @")
    width, height = clip.video.size
    number = int(np.abs(clip.times_s - time_s).argmin())
    return SavedFace(
        clip.parameters.select(number),
        "expressive",
        clip.provenance,
        clip.fingerprint,
        f"the frame of {clip.video.name} at {clip.times_s[number]:.3f} s",
        clip.video.size,
        (0.0, 0.0, float(width), float(height)),
        clip.quality,
    )


def load_other_face(path: Path, beside: LoadedFace) -> LoadedFace:
    """The face of a further parameter file; on the very same head object if heads are the same.

    Raises:
        UserError: as `load_saved_face`.
    """
    face = read_face(path)
    head = beside.decoder.head
    if face.provenance.head.name != head.name:
        return _on_own_head(face, face.provenance.head.name)
    _require_own(face, head)
    return LoadedFace(face, beside.decoder, "")


def load_photo_of(face: SavedFace, params: Path, photo: Path | None) -> RgbImage | None:
    """The photo of a face: `photo`, or the file of its name beside `params`; None without one.

    Raises:
        UserError: if it cannot be read, or its size is not that of the reconstructed photo.
    """
    path = photo
    if path is None:
        beside = params.parent / Path(face.photo).name
        if face.photo != beside.name or not beside.is_file():
            return None
        path = beside
    image = load_image(path)
    size = (image.shape[1], image.shape[0])
    if size != face.photo_size:
        raise UserError(
            f"{path}: {size[0]} x {size[1]} pixels, the face was reconstructed from {face.photo} "
            f"of {face.photo_size[0]} x {face.photo_size[1]}: give that photo"
        )
    return image


def require_photo(image: RgbImage | None, face: SavedFace, option: str) -> RgbImage:
    """The photo that `option` needs.

    Raises:
        UserError: there is none.
    """
    if image is None:
        raise UserError(f"{option}: expected the photo {face.photo}; give it with --photo FILE")
    return image


def _on_own_head(face: SavedFace, name: str) -> LoadedFace:
    decoder = HeadDecoder(load_head(name))
    _require_own(face, decoder.head)
    return LoadedFace(face, decoder, "")


def _require_own(face: SavedFace, head: HeadModel) -> None:
    require_head(head, face.provenance.head, face.fingerprint, face.parameters.head)
