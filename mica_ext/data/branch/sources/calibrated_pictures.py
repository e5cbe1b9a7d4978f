"""Real pictures of registered heads: FaMoS' images and calibrations, or others laid out alike.

IMAGES/SUBJECT/SEQUENCE/FRAME/SEQUENCE.FRAME.VIEW.png       (4x downsampled)
CALIBRATIONS/SUBJECT/SEQUENCE/VIEW.tka                      (mm; VIEW ends in _A, _B or _C)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from mica_ext.data.branch.alignment import CameraPose, align_picture
from mica_ext.data.branch.config import Views
from mica_ext.data.branch.sample import BranchSample
from mica_ext.data.branch.sources.fitted_subject import FittedFrame, FittedSubject
from mica_ext.data.branch.sources.tsai import Calibration, read_tka
from mica_ext.data.skipped import SkipCounter
from mica_ext.errors import UserError
from pacofr.errors import UserError as ImageError
from pacofr.faces.landmarks68 import five_points
from pacofr.images import load_image

IMAGE_FOLDERS = ("train_images_4", "training_images_4", "test_images_4", "images_4", "images")
CALIBRATION_FOLDERS = (
    "train_calibrations",
    "training_calibrations",
    "test_calibrations",
    "calibrations",
)
ENDINGS: dict[Views, tuple[str, ...]] = {
    "colour": ("_C",),
    "stereo": ("_A", "_B"),
    "all": ("_A", "_B", "_C"),
}
SUFFIXES = (".png", ".jpg", ".jpeg")
TO_OWN_AXES = np.diag([1.0, -1.0, -1.0])
"""Camera axes of calibrations (y down, z forward) to those of `models.projection`."""

NO_IMAGE = "mesh without its picture"
NO_MESH = "picture without its mesh"
NO_CALIBRATION = "picture without its calibration"
OTHER_CAMERA = "calibration for another camera"
UNREADABLE = "unreadable picture"
TURNED_AWAY = "head turned away from the camera"


class PictureFolders(NamedTuple):
    """Where pictures and calibrations of a data set lie; test data lie apart."""

    images: tuple[Path, ...]
    calibrations: tuple[Path, ...]

    def sequence(self, subject: str, sequence: str) -> tuple[Path | None, Path | None]:
        """Folders of a sequence's pictures and of its calibrations."""
        own = [
            next(
                (
                    place / subject / sequence
                    for place in places
                    if (place / subject / sequence).is_dir()
                ),
                None,
            )
            for places in self
        ]
        return own[0], own[1]


def find_pictures(root: Path) -> PictureFolders:
    """The folders below ROOT, as TEMPEH's scripts unpack them.

    Raises:
        UserError: there are none.
    """
    places = [root, *(root / part for part in ("training_data", "test_data"))]

    def found(names: tuple[str, ...]) -> tuple[Path, ...]:
        folders = [place / name for place in places for name in names if (place / name).is_dir()]
        return tuple(inner for folder in folders for inner in (folder, folder / folder.name))

    folders = PictureFolders(found(IMAGE_FOLDERS), found(CALIBRATION_FOLDERS))
    for what, names, there in (
        ("pictures", IMAGE_FOLDERS, folders.images),
        ("calibrations", CALIBRATION_FOLDERS, folders.calibrations),
    ):
        if not there:
            raise UserError(f"{root}: expected {what} in a folder {names[0]}, found none")
    return folders


class CalibratedViews:
    """Calibrations and pictures of one subject's sequences."""

    def __init__(self, folders: PictureFolders, views: Views, max_yaw: float) -> None:
        self.folders, self.endings = folders, ENDINGS[views]
        self.least_facing = float(np.cos(np.deg2rad(max_yaw)))
        self._calibrations: dict[Path, Calibration | UserError] = {}

    def samples(
        self, subject: FittedSubject, frame: FittedFrame, skipped: SkipCounter
    ) -> Iterator[BranchSample]:
        """A sample of every usable view of a frame."""
        images, calibrations = self.folders.sequence(subject.name, frame.sequence)
        folder = None if images is None else images / frame.frame
        pictures = self._pictures(folder, frame)
        if not pictures:
            skipped.add(NO_IMAGE, f"{subject.name}/{frame.sequence}/{frame.frame}")
        for view, path in pictures.items():
            if not view.endswith(self.endings):
                continue
            calibration = None if calibrations is None else calibrations / f"{view}.tka"
            if calibration is None or not calibration.is_file():
                skipped.add(NO_CALIBRATION, path)
                continue
            try:
                sample = self._sample(subject, frame, path, self._calibration(calibration), skipped)
            except ImageError as error:
                skipped.add(UNREADABLE, str(error))
            except UserError as error:
                skipped.add(OTHER_CAMERA, str(error))
            else:
                if sample is not None:
                    yield sample

    def count_strangers(
        self, subject: FittedSubject, sequence: str, known: set[str], skipped: SkipCounter
    ) -> None:
        """Count the frames of a sequence that have pictures and no mesh."""
        images, _ = self.folders.sequence(subject.name, sequence)
        if images is not None:
            for folder in sorted(images.iterdir()):
                if folder.is_dir() and folder.name[0] != "." and folder.name not in known:
                    skipped.add(NO_MESH, folder)

    def _pictures(self, folder: Path | None, frame: FittedFrame) -> dict[str, Path]:
        """Pictures of a frame by view."""
        if folder is None or not folder.is_dir():
            return {}
        start = f"{frame.sequence}.{frame.frame}."
        return {
            path.stem.removeprefix(start): path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in SUFFIXES and path.name.startswith(start)
        }

    def _calibration(self, path: Path) -> Calibration:
        if path not in self._calibrations:
            try:
                self._calibrations[path] = read_tka(path)
            except UserError as error:
                self._calibrations[path] = error
        found = self._calibrations[path]
        if isinstance(found, UserError):
            raise found
        return found

    def _sample(
        self,
        subject: FittedSubject,
        frame: FittedFrame,
        path: Path,
        calibration: Calibration,
        skipped: SkipCounter,
    ) -> BranchSample | None:
        picture = load_image(path)
        height, width = picture.shape[:2]
        own = calibration.scaled(width, height)
        if own is None:
            size = "{} x {}".format(*calibration.size_px)
            raise UserError(f"{path}: expected the shape of {size} px, got {width} x {height}")
        camera = camera_pose(frame, own)
        head_axes = camera.rotation @ _neck(subject, frame.row)
        towards = -(frame.root + camera.translation)
        facing = float(head_axes[:, 2] @ towards / np.linalg.norm(towards))
        if facing < self.least_facing:
            skipped.add(TURNED_AWAY, path)
            return None
        landmarks = own.project(subject.landmarks(frame.vertices) + frame.translation)
        five = five_points(landmarks)
        if not (np.isfinite(five).all() and _inside(five, width, height)):
            raise UserError(
                f"{path}: expected the face in the picture, the calibration puts it outside"
            )
        aligned = align_picture(own.undistort(picture), five)
        return subject.sample(frame, aligned, camera, str(path))


def camera_pose(frame: FittedFrame, calibration: Calibration) -> CameraPose:
    """A calibration as the camera that sees the head of a frame."""
    to_camera = TO_OWN_AXES @ calibration.rotation
    offset = to_camera @ (frame.root + frame.translation) - frame.root
    return CameraPose(
        to_camera @ frame.rotation,
        float(calibration.focal_px.mean()),
        calibration.centre_px,
        offset + TO_OWN_AXES @ calibration.translation,
    )


def _neck(subject: FittedSubject, row: int) -> Float64[np.ndarray, "3 3"]:
    return Rotation.from_rotvec(subject.fit.fits.neck_pose[row].astype(np.float64)).as_matrix()


def _inside(points: Float64[np.ndarray, "n 2"], width: int, height: int) -> bool:
    return bool((points >= 0).all() and (points < [width, height]).all())
