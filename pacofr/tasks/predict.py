"""Task models on photos: landmarks and label maps in files that others read, and drawings."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float64, Shaped, UInt8
from PIL import Image

from pacofr.engine.device import choose_device
from pacofr.errors import UserError
from pacofr.faces.align import ARCFACE_POINTS_112, ffhq_matrix, move_points, similarity
from pacofr.faces.choose import choose_face
from pacofr.faces.detect import Face, detect
from pacofr.faces.landmarks68 import write_pts
from pacofr.images import list_images, load_image
from pacofr.tasks.alignment.heatmaps import soft_argmax
from pacofr.tasks.augment.matrices import aligned_matrix, crop_matrix, invert
from pacofr.tasks.augment.tanh_warp import warp_image
from pacofr.tasks.command import Predict
from pacofr.tasks.evaluation import to_images
from pacofr.tasks.model import TaskModel, load_task_model
from pacofr.tasks.parsing.classes import PALETTE, PARSING_SETS
from pacofr.tasks.parsing.evaluate import Parsed, photo_labels
from pacofr.tasks.records import points_box
from pacofr.utils.files import write_atomic, write_json, write_png
from pacofr.utils.progress import track

LOGGER = logging.getLogger(__name__)

BOX_CENTRE_112, BOX_SIDE_112 = (56.0, 77.4), 84.0
"""Square about the 68 landmarks in the ArcFace crop of 112 px: medians of 870 Helen photos."""
PASSES = 2
"""The first finds the landmarks' box from five points, the second reads them in it."""
VERSION = 1


class Prediction(NamedTuple):
    """What is written for a photo."""

    photo: UInt8[np.ndarray, "H W 3"]
    face: Face
    points: Float64[np.ndarray, "K 2"] | None = None
    """Landmarks [px of the photo]."""
    labels: UInt8[np.ndarray, "H W"] | None = None
    """Class of every pixel."""


def predict_task(command: Predict) -> int:
    """Predict on photos; prints the files written. The exit code is 2 where a photo failed.

    Raises:
        UserError: the model or a folder cannot be used, or no photo could be read.
    """
    model, _ = load_task_model(command.model)
    if model.config.task != command.task:
        raise UserError(
            f"{command.model}: expected a model for {command.task}, got {model.config.task}"
        )
    photos = _photos(command.photos)
    if command.out.exists() and not command.out.is_dir():
        raise UserError(f"{command.out}: expected a folder to write to, got a file")
    model = model.to(choose_device(command.device)).eval()
    failed = 0
    for path in track(photos, "photos"):
        try:
            prediction = predict_photo(model, load_image(path))
        except UserError as error:
            failed += 1
            line = str(error)
            LOGGER.error("error: %s", line if str(path) in line else f"{path}: {line}")
            continue
        command.out.mkdir(parents=True, exist_ok=True)
        for file in write_prediction(command.out, path, prediction, model):
            print(file)
    return UserError.exit_code if failed else 0


def _photos(given: Sequence[Path]) -> list[Path]:
    photos = [p for path in given for p in (list_images(path) if path.is_dir() else [path])]
    stems: dict[str, Path] = {}
    for path in photos:
        if path.stem in stems:
            raise UserError(
                f"{stems[path.stem]} and {path} would both write {path.stem}.*; give one at a time"
            )
        stems[path.stem] = path
    return photos


@torch.no_grad()
def predict_photo(model: TaskModel, photo: UInt8[np.ndarray, "H W 3"]) -> Prediction:
    """Landmarks or labels of the largest face.

    Raises:
        UserError: no face is found.
    """
    face = choose_face(detect(photo), photo)[0]
    if model.config.task == "alignment":
        return Prediction(photo, face, points=predict_landmarks(model, photo, face))
    return Prediction(photo, face, labels=predict_labels(model, photo, face))


def predict_landmarks(
    model: TaskModel, photo: UInt8[np.ndarray, "H W 3"], face: Face
) -> Float64[np.ndarray, "K 2"]:
    """Landmarks of a detected face [px of the photo]."""
    config, box = model.config, box_from_five_points(face.points)
    points = np.empty((0, 2))
    for _ in range(PASSES):
        matrix = crop_matrix(box, config.frame, config.crop_scale)
        logits = _run(model, warp_image(photo, matrix, config.frame, 0.0))
        points = soft_argmax(logits, config.heatmaps)[0].cpu().numpy().astype(np.float64)
        found = points * config.frame - 0.5
        points = move_points(invert(matrix), found)
        box = points_box(points)
    return points


def predict_labels(
    model: TaskModel, photo: UInt8[np.ndarray, "H W 3"], face: Face
) -> UInt8[np.ndarray, "H W"]:
    """Class of every pixel of the photo, around a detected face."""
    config = model.config
    if config.data == "celebamask-hq":  # whole pictures of aligned faces
        matrix = ffhq_matrix(face.points, config.frame, config.frame, config.frame)
    else:
        matrix = aligned_matrix(face.points, config.frame)
    matrix = np.asarray(matrix, np.float32)
    logits = _run(model, warp_image(photo, matrix, config.frame, config.warp))
    return photo_labels(Parsed(0, logits[0], matrix), config, *photo.shape[:2])


def box_from_five_points(points: Shaped[np.ndarray, "5 2"]) -> Float64[np.ndarray, "4"]:
    """Where the landmarks of a face with these eyes, nose and mouth corners are expected."""
    matrix = similarity(points, ARCFACE_POINTS_112)
    inverse = invert(matrix)
    centre = move_points(inverse, np.array(BOX_CENTRE_112))
    half = BOX_SIDE_112 / 2 * np.hypot(*inverse[:, 0])
    return np.concatenate([centre - half, centre + half])


def _run(model: TaskModel, frame: UInt8[np.ndarray, "S S 3"]) -> torch.Tensor:
    device = next(model.parameters()).device
    return model(to_images(torch.from_numpy(frame)[None].to(device))).float()


def write_prediction(
    folder: Path, path: Path, prediction: Prediction, model: TaskModel
) -> list[Path]:
    """Write the files of a photo; their paths."""
    stem = path.stem
    face = {"box": prediction.face.box.tolist(), "score": float(prediction.face.score)}
    about: dict[str, object] = {"version": VERSION, "photo": path.name, "face": face}
    if prediction.points is not None:
        files = [folder / f"{stem}.pts", folder / f"{stem}_landmarks.png"]
        write_pts(files[0], prediction.points)
        write_png(files[1], draw_points(prediction.photo, prediction.points))
        about["points"] = prediction.points.round(3).tolist()
    else:
        assert prediction.labels is not None
        files = [folder / f"{stem}_labels.png", folder / f"{stem}_overlay.png"]
        write_label_map(files[0], prediction.labels)
        write_png(files[1], draw_labels(prediction.photo, prediction.labels))
        counts = np.bincount(prediction.labels.ravel(), minlength=model.config.outputs)
        names = PARSING_SETS[model.config.data].classes
        about["classes"] = [
            {"id": number, "name": name, "colour": PALETTE[number], "pixels": int(count)}
            for number, (name, count) in enumerate(zip(names, counts, strict=True))
        ]
    files.append(folder / f"{stem}.json")
    write_json(files[-1], about)
    return files


def draw_points(
    photo: UInt8[np.ndarray, "H W 3"], points: Float64[np.ndarray, "K 2"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Green dots with a dark rim."""
    picture = photo.copy()
    radius = max(1, round(float(np.ptp(points, axis=0).max()) / 120))
    for x, y in np.clip(points, -1e4, 1e5):
        centre = (round(float(x)), round(float(y)))
        cv2.circle(picture, centre, radius + 1, (0, 40, 0), -1, cv2.LINE_AA)
        cv2.circle(picture, centre, radius, (40, 255, 80), -1, cv2.LINE_AA)
    return picture


def draw_labels(
    photo: UInt8[np.ndarray, "H W 3"], labels: UInt8[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The classes' colours over the photo, the background as it is."""
    colours = np.array(PALETTE, np.uint8)[labels]
    mixed = cv2.addWeighted(photo, 0.45, colours, 0.55, 0.0)
    return np.where(labels[..., None] > 0, mixed, photo)


def write_label_map(file: Path, labels: UInt8[np.ndarray, "H W"]) -> None:
    """A PNG whose pixels are class numbers, shown in the classes' colours."""
    image = Image.fromarray(labels, "P")
    image.putpalette([value for colour in PALETTE for value in colour])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_atomic(file, stream.getvalue())
