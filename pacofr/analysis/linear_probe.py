"""Judge a frozen encoder by how well a linear map of its tokens finds 68 landmarks.

Each photo is aligned as for pre-training, but displaced at random (shift, turn, scale), so
that the crop itself tells nothing exact. The tokens of all tapped layers, every position by itself,
go into one ridge regression, solved in closed form in the space of samples; its strength is chosen
by cross-validation over training photos. Nothing is trained by gradient and every draw is a
function of (seed, photo, copy): the same encoder always gets the same score, and encoders are
compared on the same crops, photo by photo. Errors are NMEs: mean distance over 68 points over the
distance of the outer eye corners (36, 45).
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
from pacofr.engine.distributed import choose_device
from pacofr.errors import UserError
from pacofr.faces.align import CANVAS_PX, FACE_PX, ffhq_crop, ffhq_matrix, move_points
from pacofr.faces.landmarks68 import mirrored, nme, read_pts
from pacofr.images import list_images, load_image
from pacofr.models.encoders import READERS, TAPS, FaceEncoder, load_encoder
from pacofr.models.vit import VisionTransformer, scaled_layers
from pacofr.pretraining.config import PRESETS
from pacofr.pretraining.masking import uniforms
from pacofr.utils.progress import track

STRENGTHS = 10.0 ** np.arange(-5.0, 1.5, 0.5)
"""Ridge strengths tried, relative to the mean diagonal of the kernel."""
TEST_SEED = 1_000_003  # the test crops do not depend on the config's seed
TRAIN_STREAM, TEST_STREAM = 16, 17


class Crops(NamedTuple):
    """Displaced crops of annotated photos."""

    images: UInt8[np.ndarray, "N S S 3"]
    points: Float64[np.ndarray, "N 68 2"]
    """In crop pixels."""
    photo: Int64[np.ndarray, " N"]
    """Number of the photo each crop shows."""


class ProbeResult(NamedTuple):
    """What an encoder scores on the test photos."""

    nme: float
    """Mean over the test photos, in percent of the inter-ocular distance."""
    low: float
    """2.5th percentile of the mean, by bootstrap over test photos."""
    high: float
    """97.5th percentile."""
    mean_shape_nme: float
    """What the training crops' mean landmarks score: knowing nothing of the photo."""
    validation_nme: float
    """Of the chosen strength, over the folds."""
    strength: float
    """The chosen ridge strength, relative to the kernel's mean diagonal."""
    each: list[float]
    """NME of every test photo in percent, in the order of their names."""


def encoder_of(spec: str, resolution: int | None = None) -> FaceEncoder:
    """An encoder from one word: RUN, NAME:FILE (farl, mae, moco-v3, mcf) or scratch:PRESET."""
    name, _, rest = spec.partition(":")
    if name == "scratch" and rest:
        if rest not in PRESETS:
            raise UserError(f"{spec}: expected scratch:PRESET with one of {', '.join(PRESETS)}")
        torch.manual_seed(0)
        vit = VisionTransformer(PRESETS[rest]().model.encoder)
        return FaceEncoder(vit, scaled_layers(TAPS, vit.config.depth))
    if name in READERS and rest:
        return load_encoder(name, rest, resolution)
    if name == "scratch":
        return load_encoder(name, None, resolution)
    return load_encoder("pacofr", spec, resolution)


def probe(encoder: FaceEncoder, config: ProbeConfig) -> ProbeResult:
    """Score a frozen encoder."""
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
    strength, validation = _choose_strength(kernel, target, fold, train)
    found = _ridge(kernel, target, cross, [strength])[0].reshape(-1, 68, 2)
    each = per_photo(nme(found, test.points), test.photo)
    draws = np.random.default_rng(0).integers(len(each), size=(4000, len(each)))
    low, high = np.percentile(each[draws].mean(axis=1), [2.5, 97.5])
    mean_shape = np.broadcast_to(train.points.mean(axis=0), test.points.shape)
    return ProbeResult(
        nme=float(each.mean()),
        low=float(low),
        high=float(high),
        mean_shape_nme=float(nme(mean_shape, test.points).mean()),
        validation_nme=validation,
        strength=strength,
        each=each.tolist(),
    )


def per_photo(
    errors: Float64[np.ndarray, " N"], photo: Int64[np.ndarray, " N"]
) -> Float64[np.ndarray, " P"]:
    """Mean error of each photo's crops."""
    return np.bincount(photo, weights=errors) / np.bincount(photo)


def annotated_crops(folder: Path, side: int, config: ProbeConfig, *, test: bool) -> Crops:
    """Displaced crops of every photo of `folder`, `copies` or `test_copies` of each."""
    photos = list_images(folder)
    copies = config.test_copies if test else config.copies
    seed, stream = (TEST_SEED, TEST_STREAM) if test else (config.seed, TRAIN_STREAM)
    images, points, owner = [], [], []
    for number, photo in enumerate(track(photos, f"cropping {folder.name}")):
        image, truth = load_image(photo), read_pts(photo.with_suffix(".pts"))
        for copy in range(copies):
            chance = uniforms(seed, copy, np.array([number]), stream, 4)[0] * 2 - 1
            crop, moved = _displaced_crop(image, truth, side, chance, config)
            if copy % 2:
                crop, moved = crop[:, ::-1], mirrored(moved, side)
            images.append(crop)
            points.append(moved)
            owner.append(number)
    return Crops(np.stack(images), np.stack(points), np.array(owner))


def _displaced_crop(
    image: UInt8[np.ndarray, "H W 3"],
    truth: Float64[np.ndarray, "68 2"],
    side: int,
    chance: Float64[np.ndarray, " 4"],
    config: ProbeConfig,
) -> tuple[UInt8[np.ndarray, "side side 3"], Float64[np.ndarray, "68 2"]]:
    """Crop by displaced points; `chance` in [-1, 1] is shift x, shift y, turn and stretch."""
    angle, scale = np.radians(config.turn_degrees) * chance[2], 1 + config.stretch * chance[3]
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(ffhq_matrix(truth, FACE_PX, FACE_PX, FACE_PX)[:, :2])
    shift = inverse @ (config.shift * FACE_PX * chance[:2])
    centre = truth.mean(axis=0)
    guide = (truth - centre) @ turn.T + centre + shift
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
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


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
    chance = uniforms(config.seed, 0, np.arange(photo.max() + 1), TRAIN_STREAM + 2, 1)[:, 0]
    return (np.argsort(np.argsort(chance)) % config.folds)[photo]


def _choose_strength(
    kernel: Float64[np.ndarray, "N N"],
    target: Float64[np.ndarray, "N Y"],
    fold: Int64[np.ndarray, " N"],
    train: Crops,
) -> tuple[float, float]:
    """The strength with the least NME over the folds, and that NME."""
    errors = np.zeros(len(STRENGTHS))
    numbers = range(int(fold.max()) + 1)
    for number in track(numbers, "choosing the ridge's strength"):
        kept, held = fold != number, fold == number
        found = _ridge(kernel[kept][:, kept], target[kept], kernel[held][:, kept], STRENGTHS)
        for row, one in enumerate(found):
            errors[row] += nme(one.reshape(-1, 68, 2), train.points[held]).sum() / len(fold)
    best = int(errors.argmin())
    return float(STRENGTHS[best]), float(errors[best])


def _ridge(
    kernel: Float64[np.ndarray, "N N"],
    target: Float64[np.ndarray, "N Y"],
    cross: Float64[np.ndarray, "M N"],
    strengths: Sequence[float] | Float64[np.ndarray, " L"],
) -> list[Float64[np.ndarray, "M Y"]]:
    """Predictions of kernel ridge regression for each strength, by one eigendecomposition."""
    mean = target.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel)
    rotated, onto = vectors.T @ (target - mean), cross @ vectors
    unit = np.trace(kernel) / len(kernel)
    return [onto @ (rotated / (values + s * unit)[:, None]) + mean for s in strengths]
