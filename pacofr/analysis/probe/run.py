"""All probes of some encoders, on the same crops, and their differences over photos and subsets."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.special import stdtrit

from pacofr.analysis.config import ProbeConfig, ProbeName
from pacofr.analysis.probe.crops import (
    AnnotatedCrops,
    LabelledCrops,
    annotated_crops,
    labelled_crops,
    subset,
)
from pacofr.analysis.probe.features import ProbedEncoder, RawPixels, features, patch_features
from pacofr.analysis.probe.readout_training import (
    landmark_errors,
    region_errors,
    tuned_landmark_errors,
)
from pacofr.analysis.probe.ridge import RidgeResult, ridge_probe
from pacofr.engine.device import choose_device
from pacofr.errors import UserError
from pacofr.faces.landmarks68 import nme
from pacofr.tasks.parsing.classes import SYNTHETIC


class ProbeScore(NamedTuple):
    """Errors of one probe of an encoder with one number of labelled photos."""

    probe: ProbeName
    labels: int
    """Photos trained on."""
    errors: Float64[np.ndarray, "subsets photos"]
    """Of every test photo, for every subset of the training photos [%]: NME, or 100 - F1."""

    @property
    def mean(self) -> float:
        """Over photos and subsets [%]."""
        return float(self.errors.mean())

    def to_json(self) -> dict[str, object]:
        """The fields under their names in files."""
        return {
            "probe": self.probe,
            "labels": self.labels,
            "mean": self.mean,
            "each": self.errors.tolist(),
        }


class Difference(NamedTuple):
    """How much larger one encoder's error is than another's."""

    mean: float
    half_interval: float
    """Half of the 95 % interval, over photos and over subsets [%]."""


def difference(ours: ProbeScore, theirs: ProbeScore) -> Difference:
    """Paired over photos and subsets: the same photos, crops and subsets for both."""
    apart = ours.errors - theirs.errors
    return interval(apart)


def interval(apart: Float64[np.ndarray, "subsets photos"]) -> Difference:
    """Mean of paired differences with its 95 % interval.

    The variance of the mean over photos (of their means over subsets) and, for two subsets or more,
    of the mean over subsets (Student's t) are added.
    """
    photos = apart.mean(axis=0)
    half = 1.96 * photos.std(ddof=1) / np.sqrt(len(photos))
    subsets = apart.mean(axis=1)
    if len(subsets) > 1:
        quantile = stdtrit(len(subsets) - 1, 0.975)
        half = np.hypot(half, quantile * subsets.std(ddof=1) / np.sqrt(len(subsets)))
    return Difference(float(apart.mean()), float(half))


class EncoderProbes:
    """The crops that all encoders of one input size are probed on.

    Args:
        side: input size of the encoders [px].
        config: which probes, on what.

    Raises:
        UserError: photos, landmarks or labels cannot be read.
    """

    def __init__(self, side: int, config: ProbeConfig) -> None:
        self.config = config
        self.train: AnnotatedCrops | None = None
        self.heads: tuple[LabelledCrops, LabelledCrops] | None = None
        if set(config.probes) - {"parsing"}:
            self.train = annotated_crops(config.photos / "trainset", side, config, test=False)
            self.test = annotated_crops(config.photos / "testset", side, config, test=True)
        if "parsing" in config.probes:
            if config.heads is None:
                raise UserError(
                    "the parsing probe needs --heads FOLDER, which `mica-ext synth-parsing FOLDER`"
                    " writes"
                )
            self.heads = (
                labelled_crops(config.heads, side, config, test=False),
                labelled_crops(config.heads, side, config, test=True),
            )

    def mean_shape_nme(self) -> float:
        """Score of the training crops' mean landmarks, which know nothing of the photo [%]."""
        assert self.train is not None
        mean_shape = np.broadcast_to(self.train.points.mean(axis=0), self.test.points.shape)
        return float(nme(mean_shape, self.test.points).mean())

    def ridge(self, encoder: ProbedEncoder) -> RidgeResult | None:
        """The pixel baseline, if it is asked for."""
        if "ridge" not in self.config.probes or self.train is None:
            return None
        return ridge_probe(self._prepared(encoder), self.train, self.test, self.config)

    def scores(self, encoder: ProbedEncoder) -> Iterator[ProbeScore]:
        """The readouts that are asked for, one after the other.

        Raises:
            UserError: `NotFiniteFeaturesError`.
        """
        encoder = self._prepared(encoder)
        config = self.config
        kinds: list[ProbeName] = [n for n in config.probes if n not in ("ridge", "parsing")]
        if self.train is not None and kinds:
            own = patch_features(features(encoder, self.train.images, config, "training crops"))
            other = patch_features(features(encoder, self.test.images, config, "test crops"))
            for kind in kinds:
                if kind == "tuned" and isinstance(encoder, RawPixels):
                    continue
                for labels in _counts(config.labels, self.train.photo):
                    yield self._landmarks(kind, labels, encoder, own, other)
        if self.heads is not None:
            train, test = self.heads
            own = patch_features(features(encoder, train.images, config, "heads"))
            other = patch_features(features(encoder, test.images, config, "test heads"))
            for labels in _counts(config.labels, train.photo):
                yield self._regions(labels, own, other, train, test)

    def _landmarks(
        self,
        kind: ProbeName,
        labels: int,
        encoder: ProbedEncoder,
        own: Float[torch.Tensor, "N K D"],
        other: Float[torch.Tensor, "M K D"],
    ) -> ProbeScore:
        assert self.train is not None
        errors = []
        for seed in self._seeds(labels, self.train.photo):
            rows = subset(self.train.photo, labels, seed)
            part = AnnotatedCrops(*(array[rows] for array in self.train))
            what = f"{kind}, {labels} photos, subset {seed}"
            if kind == "tuned" and not isinstance(encoder, RawPixels):
                score = tuned_landmark_errors(
                    encoder, own[rows], part, self.test, self.config, seed=seed, what=what
                )
            else:
                score = landmark_errors(
                    (own[rows], other),
                    part,
                    self.test,
                    self.config,
                    conv=kind == "conv",
                    seed=seed,
                    what=what,
                )
            errors.append(score)
        return ProbeScore(kind, labels, np.stack(errors))

    def _regions(
        self,
        labels: int,
        own: Float[torch.Tensor, "N K D"],
        other: Float[torch.Tensor, "M K D"],
        train: LabelledCrops,
        test: LabelledCrops,
    ) -> ProbeScore:
        errors = []
        for seed in self._seeds(labels, train.photo):
            rows = subset(train.photo, labels, seed)
            part = LabelledCrops(*(array[rows] for array in train))
            errors.append(
                region_errors(
                    (own[rows], other),
                    part,
                    test,
                    len(SYNTHETIC),
                    self.config,
                    seed=seed,
                    what=f"parsing, {labels} heads, subset {seed}",
                )
            )
        return ProbeScore("parsing", labels, np.stack(errors))

    def _seeds(self, labels: int, photo: np.ndarray) -> range:
        """All photos are one subset; smaller ones are drawn several times."""
        return range(1 if labels == int(photo.max()) + 1 else self.config.subsets)

    def _prepared(self, encoder: ProbedEncoder) -> ProbedEncoder:
        return encoder.to(choose_device(self.config.device)).eval().requires_grad_(False)


def _counts(labels: tuple[int, ...], photo: np.ndarray) -> list[int]:
    """Numbers of photos, at most as many as there are."""
    return sorted({min(count, int(photo.max()) + 1) for count in labels})
