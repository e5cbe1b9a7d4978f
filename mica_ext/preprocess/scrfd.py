"""SCRFD face detection as MICA's demo runs it: insightface's antelopev2 at 224 pixels.

Guo et al., "Sample and Computation Redistribution for Efficient Face Detection" (2021), through the
package insightface (extra `mica`), which is imported when a detector is opened.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from flame_assets.download.catalogue import asset_path
from flame_assets.inert.files import ReadError, errors_of, open_regular, read_regular
from flame_assets.inert.zips import ZipReader
from mica_ext.errors import UserError
from mica_ext.preprocess.onnx_session import BoundedSession
from pacofr.faces.detect import Detector, Face

SIDE = 224
"""Photos are shrunk or enlarged into a square of this side [px], as in MICA's demo."""
THRESHOLD = 0.4
MODEL_BYTES = 256 << 20
DETECTORS = ("scrfd_10g_bnkps.onnx", "det_10g.onnx", "scrfd_10g_kps.onnx", "det_500m.onnx")
"""Files of insightface's packs that hold SCRFD with five points, best first."""
PACKS = ("antelopev2", "buffalo-l")
OUTPUTS = 9
"""Of SCRFD with five points: scores, boxes and points at three strides."""
GET = "get it with `flame-assets get antelopev2` (or buffalo-l)"
_OTHER_SHAPES = (AttributeError, IndexError, TypeError, ValueError)
"""What insightface raises on them."""
INSTALL = 'expected the package insightface: install it with `pip install "pacofr[mica]"`'


class ScrfdDetector:
    """Faces of a photo by SCRFD; build once, call often."""

    def __init__(self, pack: Path | None = None) -> None:
        """Open the detector of an insightface pack (None: where packs usually lie).

        Raises:
            UserError: insightface is not installed; the pack is missing, not whole, or holds
                another graph.
        """
        path = pack or _installed_pack()
        name, data = _model_of(path)
        self.source = Detector(f"SCRFD {name}", "insightface", "non-commercial research only")
        self._path = path
        self.model = _open(path, data)

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"], *, min_face: float | None = None
    ) -> list[Face]:
        """Faces of an RGB photo, largest first.

        Args:
            image: the photo.
            min_face: smaller boxes are left out [px].

        Raises:
            UserError: the graph fails, or gives no boxes and points.
        """
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        try:
            boxes, points = self.model.detect(bgr, input_size=(SIDE, SIDE))
        except (UserError, *_OTHER_SHAPES) as error:
            reason = error if isinstance(error, UserError) else "outputs of other shapes"
            raise UserError(f"{self._path}: its detector is not SCRFD: {reason}; {GET}") from error
        faces = [
            Face(box[:4].astype(np.float32), float(box[4]), five.astype(np.float32))
            for box, five in zip(boxes, points, strict=True)
            if np.isfinite(box).all() and np.isfinite(five).all()
        ]
        kept = [face for face in faces if face.size >= (min_face or 0)]
        return sorted(kept, key=lambda face: -face.size)


def _installed_pack() -> Path:
    places = [asset_path(name) for name in PACKS]
    root = Path.home() / ".insightface" / "models"
    places += [root / "antelopev2", root / "buffalo_l"]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise UserError(f"--detector mica: no pack of insightface is on this machine; {GET}")
    return found


def _model_of(path: Path) -> tuple[str, bytes]:
    """Name and bytes of the detector in a pack: a .zip, a folder (also nested), or the file."""
    broken = f"is not a whole pack of insightface: expected {DETECTORS[0]} in it; {GET}"
    try:
        if path.is_dir():
            files = {file.name: file for file in sorted(path.glob("**/*.onnx"))}
            name = _best(files)
            if name is None:
                raise UserError(f"{path} {broken}")
            return name, read_regular(files[name], MODEL_BYTES)
        if path.suffix == ".onnx":
            return path.name, read_regular(path, MODEL_BYTES)
        with errors_of(path), open_regular(path) as file:
            archive = ZipReader(file, MODEL_BYTES)
            members = {PurePosixPath(member).name: member for member in archive.members}
            name = _best(members)
            if name is None:
                raise UserError(f"{path} {broken}")
            return name, archive.read(members[name], MODEL_BYTES)
    except ReadError as error:
        raise UserError(f"{error}; expected a pack of insightface: {GET}") from error


def _best(names: Iterable[str]) -> str | None:
    held = set(names)
    return next((name for name in DETECTORS if name in held), None)


def _open(path: Path, data: bytes) -> Any:
    try:
        session = BoundedSession(data)
    except ImportError as error:
        raise UserError(f"--detector mica: {INSTALL} ({error})") from error
    except UserError as error:
        raise UserError(f"{path}: its detector cannot be read: {error}; {GET}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(outputs) != OUTPUTS:
        raise UserError(
            f"{path}: its detector has {len(inputs)} inputs and {len(outputs)} outputs, expected "
            f"SCRFD with five points (1 and {OUTPUTS}); {GET}"
        )
    try:
        from insightface.model_zoo.scrfd import SCRFD  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f"--detector mica: {INSTALL} ({error})") from error
    model = SCRFD(session=session)
    model.prepare(-1, input_size=(SIDE, SIDE), det_thresh=THRESHOLD)
    return model
