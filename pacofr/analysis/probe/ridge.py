"""Ridge regression of 68 landmarks from all tokens of a frozen encoder: the pixel baseline.

The tokens of all tapped layers, each position by itself, are the features of one ridge regression,
solved in closed form in its dual; lambda is chosen by cross-validation over training photos. With
far more features than photos it is close to a linear regression of pixels, whatever the encoder:
random weights score as raw pixels do. `readouts` sees what an encoder has learnt.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pacofr.analysis.config import ProbeConfig
from pacofr.analysis.probe.crops import AnnotatedCrops, mean_per_photo
from pacofr.analysis.probe.features import ProbedEncoder, features
from pacofr.faces.landmarks68 import nme
from pacofr.utils.counter_rng import Stream, uniforms
from pacofr.utils.progress import track

RIDGE_LAMBDAS = 10.0 ** np.arange(-5.0, 1.5, 0.5)
"""Regularisations tried, relative to the mean diagonal of the kernel."""


class RidgeResult(NamedTuple):
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


def ridge_probe(
    encoder: ProbedEncoder, train: AnnotatedCrops, test: AnnotatedCrops, config: ProbeConfig
) -> RidgeResult:
    """Score a frozen encoder.

    Raises:
        UserError: `NotFiniteFeaturesError`.
    """
    kernel, cross = _kernels(
        _flat(features(encoder, train.images, config, "training crops")),
        _flat(features(encoder, test.images, config, "test crops")),
    )
    target = train.points.reshape(len(train.points), -1)
    fold = _folds(train.photo, config)
    ridge_lambda, validation = _choose_lambda(kernel, target, fold, train)
    predicted = _ridge(kernel, target, cross, [ridge_lambda])[0].reshape(-1, 68, 2)
    each = mean_per_photo(nme(predicted, test.points), test.photo)
    samples = np.random.default_rng(0).integers(len(each), size=(4000, len(each)))
    low, high = np.percentile(each[samples].mean(axis=1), [2.5, 97.5])
    mean_shape = np.broadcast_to(train.points.mean(axis=0), test.points.shape)
    return RidgeResult(
        nme=float(each.mean()),
        low=float(low),
        high=float(high),
        mean_shape_nme=float(nme(mean_shape, test.points).mean()),
        validation_nme=validation,
        ridge_lambda=ridge_lambda,
        per_image_nme=each.tolist(),
    )


def _flat(layers: list[Float[Tensor, "N T D"]]) -> list[Float[Tensor, "N F"]]:
    """A row a crop, on the CPU."""
    return [layer.flatten(1).cpu() for layer in layers]


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
