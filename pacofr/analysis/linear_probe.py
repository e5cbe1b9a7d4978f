"""Linear probe: how well a linear map of a frozen encoder's tokens predicts 68 landmarks.

Each photo is aligned as for pre-training and then displaced at random (shift, rotation, scale), so
that the crop itself does not give the landmarks away. The tokens of all tapped layers, each
position by itself, are the features of one ridge regression, solved in closed form in its dual;
lambda is chosen by cross-validation over training photos. Nothing is trained by gradient descent
and every draw is a function of (seed, photo, copy): the same encoder always gets the same score,
and encoders are compared on the same crops, photo by photo. Errors are NMEs (`landmarks68.nme`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from pacofr.analysis.config import ProbeConfig
from pacofr.engine.device import choose_device
from pacofr.errors import UserError
from pacofr.faces.align import CANVAS_PX, FACE_PX, ffhq_crop, ffhq_matrix, move_points
from pacofr.faces.landmarks68 import mirrored, nme, read_pts
from pacofr.images import list_images, load_image
from pacofr.models.encoders import FaceEncoder
from pacofr.utils.counter_rng import Stream, uniforms
from pacofr.utils.progress import track

RIDGE_LAMBDAS = 10.0 ** np.arange(-5.0, 1.5, 0.5)
"""Regularisations tried, relative to the mean diagonal of the kernel."""
TEST_SEED = 1_000_003  # the test crops do not depend on the config's seed


class NotFiniteFeaturesError(UserError):
    """The encoder's tokens are not finite: its training has diverged."""


class AnnotatedCrops(NamedTuple):
    """Displaced crops of annotated photos."""

    images: UInt8[np.ndarray, "N S S 3"]
    points: Float64[np.ndarray, "N 68 2"]
    """In crop pixels."""
    photo: Int64[np.ndarray, " N"]
    """Number of the photo each crop shows."""


class ProbeResult(NamedTuple):
    """Scores of an encoder on the test photos."""

    nme: float
    """Mean over the test photos, in percent of the inter-ocular distance."""
    low: float
    """2.5th percentile of the mean, by bootstrap over test photos."""
    high: float
    """97.5th percentile."""
    mean_shape_nme: float
    """Score of the training crops' mean landmarks, which know nothing of the photo."""
    validation_nme: float
    """Of the chosen lambda, over the folds."""
    ridge_lambda: float
    """The chosen regularisation, relative to the kernel's mean diagonal."""
    per_image_nme: list[float]
    """NME of every test photo in percent, in the order of their names."""

    def to_json(self) -> dict[str, object]:
        """The fields under their names in files."""
        fields = self._asdict()
        fields["strength"], fields["each"] = fields.pop("ridge_lambda"), fields.pop("per_image_nme")
        return fields


def probe(encoder: FaceEncoder, config: ProbeConfig) -> ProbeResult:
    """Score a frozen encoder.

    Raises:
        UserError: the photos or their landmarks cannot be read; `NotFiniteFeaturesError`.
    """
    side = encoder.config.image_size
    train = annotated_crops(config.photos / "trainset", side, config, test=False)
    test = annotated_crops(config.photos / "testset", side, config, test=True)
    encoder = encoder.to(choose_device(config.device)).eval().requires_grad_(False)
    kernel, cross = _kernels(
        _features(encoder, train.images, config, "training crops"),
        _features(encoder, test.images, config, "test crops"),
    )
    target = train.points.reshape(len(train.points), -1)
    fold = _folds(train.photo, config)
    ridge_lambda, validation = _choose_lambda(kernel, target, fold, train)
    predicted = _ridge(kernel, target, cross, [ridge_lambda])[0].reshape(-1, 68, 2)
    each = mean_per_photo(nme(predicted, test.points), test.photo)
    samples = np.random.default_rng(0).integers(len(each), size=(4000, len(each)))
    low, high = np.percentile(each[samples].mean(axis=1), [2.5, 97.5])
    mean_shape = np.broadcast_to(train.points.mean(axis=0), test.points.shape)
    return ProbeResult(
        nme=float(each.mean()),
        low=float(low),
        high=float(high),
        mean_shape_nme=float(nme(mean_shape, test.points).mean()),
        validation_nme=validation,
        ridge_lambda=ridge_lambda,
        per_image_nme=each.tolist(),
    )


def mean_per_photo(
    errors: Float64[np.ndarray, " N"], photo: Int64[np.ndarray, " N"]
) -> Float64[np.ndarray, " P"]:
    """Mean error of each photo's crops."""
    return np.bincount(photo, weights=errors) / np.bincount(photo)


def annotated_crops(folder: Path, side: int, config: ProbeConfig, *, test: bool) -> AnnotatedCrops:
    """Displaced crops of every photo of `folder`, `copies` or `test_copies` of each."""
    photos = list_images(folder)
    copies = config.test_copies if test else config.copies
    seed, stream = (TEST_SEED, Stream.PROBE_TEST) if test else (config.seed, Stream.PROBE_TRAIN)
    images, points, owner = [], [], []
    for number, photo in enumerate(track(photos, f"cropping {folder.name}")):
        image, truth = load_image(photo), read_pts(photo.with_suffix(".pts"))
        for copy in range(copies):
            draws = uniforms(seed, copy, np.array([number]), stream, 4)[0] * 2 - 1
            crop, moved = _displaced_crop(image, truth, side, draws, config)
            if copy % 2:
                crop, moved = crop[:, ::-1], mirrored(moved, side)
            images.append(crop)
            points.append(moved)
            owner.append(number)
    return AnnotatedCrops(np.stack(images), np.stack(points), np.array(owner))


def _displaced_crop(
    image: UInt8[np.ndarray, "H W 3"],
    truth: Float64[np.ndarray, "68 2"],
    side: int,
    draws: Float64[np.ndarray, " 4"],
    config: ProbeConfig,
) -> tuple[UInt8[np.ndarray, "side side 3"], Float64[np.ndarray, "68 2"]]:
    """Crop by displaced points; `draws` in [-1, 1] are shift x and y, rotation and scale."""
    angle, scale = np.radians(config.turn_degrees) * draws[2], 1 + config.stretch * draws[3]
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(ffhq_matrix(truth, FACE_PX, FACE_PX, FACE_PX)[:, :2])
    shift = inverse @ (config.shift * FACE_PX * draws[:2])
    centre = truth.mean(axis=0)
    guide = (truth - centre) @ rotation.T + centre + shift
    canvas = ffhq_crop(image, guide, FACE_PX, CANVAS_PX)
    if side != CANVAS_PX:
        how = cv2.INTER_AREA if side < CANVAS_PX else cv2.INTER_LINEAR
        canvas = cv2.resize(canvas, (side, side), interpolation=how)
    matrix = ffhq_matrix(guide, FACE_PX, CANVAS_PX, CANVAS_PX)
    return canvas, (move_points(matrix, truth) + 0.5) * (side / CANVAS_PX) - 0.5


@torch.no_grad()
def _features(
    encoder: FaceEncoder, images: UInt8[np.ndarray, "N S S 3"], config: ProbeConfig, what: str
) -> list[Float[Tensor, "N F"]]:
    """All tokens of each tapped layer, flattened per crop, on the CPU."""
    starts = range(0, len(images), config.batch_size)
    parts = []
    for start in track(starts, f"encoding {what}"):
        batch = torch.from_numpy(images[start : start + config.batch_size]).to(encoder.mean.device)
        taps = encoder(batch.permute(0, 3, 1, 2) / 255)
        parts.append([tokens.flatten(1).float().cpu() for tokens in taps])
    layers = [torch.cat(layer) for layer in zip(*parts, strict=True)]
    if not all(bool(layer.isfinite().all()) for layer in layers):
        raise NotFiniteFeaturesError("the encoder's features are not finite: it has diverged")
    return layers


def _kernels(
    train: list[Float[Tensor, "N F"]], test: list[Float[Tensor, "M F"]]
) -> tuple[Float64[np.ndarray, "N N"], Float64[np.ndarray, "M N"]]:
    """Inner products of standardised features, each layer weighing the same; consumes the lists."""
    kernel = cross = 0.0
    while train:
        own, other = train.pop(), test.pop()
        mean, std = own.mean(dim=0), own.std(dim=0).clamp_min(1e-6)
        own, other = own.sub_(mean).div_(std), other.sub_(mean).div_(std)
        kernel = kernel + (own @ own.T / own.shape[1]).double().numpy()
        cross = cross + (other @ own.T / own.shape[1]).double().numpy()
    return np.asarray(kernel), np.asarray(cross)


def _folds(photo: Int64[np.ndarray, " N"], config: ProbeConfig) -> Int64[np.ndarray, " N"]:
    """Fold of each crop; all copies of a photo lie in one fold."""
    draws = uniforms(config.seed, 0, np.arange(photo.max() + 1), Stream.PROBE_FOLDS, 1)[:, 0]
    return (np.argsort(np.argsort(draws)) % config.folds)[photo]


def _choose_lambda(
    kernel: Float64[np.ndarray, "N N"],
    target: Float64[np.ndarray, "N Y"],
    fold: Int64[np.ndarray, " N"],
    train: AnnotatedCrops,
) -> tuple[float, float]:
    """The lambda with the least NME over the folds, and that NME."""
    errors = np.zeros(len(RIDGE_LAMBDAS))
    numbers = range(int(fold.max()) + 1)
    for number in track(numbers, "choosing the regularisation"):
        kept, held = fold != number, fold == number
        predicted = _ridge(
            kernel[kept][:, kept], target[kept], kernel[held][:, kept], RIDGE_LAMBDAS
        )
        for row, points in enumerate(predicted):
            errors[row] += nme(points.reshape(-1, 68, 2), train.points[held]).sum() / len(fold)
    best = int(errors.argmin())
    return float(RIDGE_LAMBDAS[best]), float(errors[best])


def _ridge(
    kernel: Float64[np.ndarray, "N N"],
    target: Float64[np.ndarray, "N Y"],
    cross: Float64[np.ndarray, "M N"],
    lambdas: Sequence[float] | Float64[np.ndarray, " L"],
) -> list[Float64[np.ndarray, "M Y"]]:
    """Predictions of kernel ridge regression for each lambda, by one eigendecomposition."""
    mean = target.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel)
    rotated, onto = vectors.T @ (target - mean), cross @ vectors
    unit = np.trace(kernel) / len(kernel)
    return [onto @ (rotated / (values + s * unit)[:, None]) + mean for s in lambdas]
