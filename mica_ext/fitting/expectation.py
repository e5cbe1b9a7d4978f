"""What is known of faces besides their points; where the points are unsure, it decides.

A network that sees the whole face may know an expression behind a hand better than a population's
prior. Points that tell a coefficient about as well as if all of them were seen (`SURE`) leave it to
the fit; as they tell less, the network's word is added to the population's prior. It does not take
that prior's place: behind masks and hands on rendered heads, whose movements are drawn at random,
that was worse by 2 to 6 % of the movement's error. The head's rotation stays the points': a
network's was no better, neither behind occluders nor in profiles.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from flame_assets.model.head_module import HeadParameters
from mica_ext.fitting.points.model import FitState, PointModel
from mica_ext.fitting.priors import CoefficientPrior

SURE = 0.05
"""Share of the information of points that are all seen, from which they decide alone."""
COEFFICIENT_SIGMA = 0.3
"""Standard deviation of expected coefficients."""


class Expectation(NamedTuple):
    """Faces as a network sees them."""

    coefficients: Float64[np.ndarray, "B M"]
    """In the order of the fit's; shape and noise are zero and not used."""
    gaze: Float64[np.ndarray, "B 2 3"]
    """Rotations of the left and right eye [rad]."""

    @classmethod
    def of(cls, head: HeadParameters, model: PointModel, prior: CoefficientPrior) -> "Expectation":
        """A head's movement as unknowns of its fit, within the prior's bounds."""
        rows = (head.expression, head.jaw_pose)
        expression, jaw = (part.detach().cpu().double().numpy() for part in rows)
        eyes = [part.detach().cpu().double().numpy() for part in head[-2:]]
        coefficients = np.zeros((len(expression), len(prior.lower)))
        coefficients[:, :3] = jaw - expression @ model.jaw_of_expression.T
        start = 3 + model.axes_count
        coefficients[:, start : start + expression.shape[1]] = expression
        coefficients = np.clip(coefficients, prior.lower, prior.upper)
        return cls(coefficients, np.stack(eyes, 1))


class FacePrior(NamedTuple):
    """Prior of each face's coefficients: -log p = c P c / 2 + rate c + k (c - expected)^2 / 2."""

    precision: Float64[np.ndarray, "1 M M"]
    rate: Float64[np.ndarray, "1 M"]
    expectation: Expectation | None = None
    pull: Float64[np.ndarray, "B M"] | float = 0.0
    """Precision k of the expected coefficients."""

    @classmethod
    def of_population(cls, prior: CoefficientPrior) -> "FacePrior":
        """Where nothing else is known."""
        return cls(prior.precision[None], prior.rate[None])

    @classmethod
    def of_faces(
        cls,
        prior: CoefficientPrior,
        expectation: Expectation,
        told: Float64[np.ndarray, "B M"],
    ) -> "FacePrior":
        """The population's, and beside it what is expected of coefficients that points hardly tell.

        Args:
            prior: of the population.
            expectation: of these faces.
            told: see `told_by_points`; 1 for what nothing is expected of.
        """
        unsure = 1 - (told / SURE).clip(0, 1)
        pull = unsure / COEFFICIENT_SIGMA**2
        return cls(prior.precision[None], prior.rate[None], expectation, pull)

    def add_to(
        self,
        H: Float64[np.ndarray, "B N N"],
        g: Float64[np.ndarray, "B N"],
        state: FitState,
    ) -> None:
        """Add its second derivatives and its negative gradient to normal equations, in place."""
        c = state.coefficients
        H[:, 6:, 6:] += self.precision
        g[:, 6:] -= (self.precision @ c[..., None])[..., 0] + self.rate
        if self.expectation is None:
            return
        own = np.arange(6, H.shape[1])
        H[:, own, own] += self.pull
        g[:, 6:] += self.pull * (self.expectation.coefficients - c)


def told_by_points(
    jacobian: Float64[np.ndarray, "B L 2 N"],
    sigma_px: Float64[np.ndarray, "B L"],
    good_sigma_px: Float64[np.ndarray, "B L"],
) -> Float64[np.ndarray, "B N"]:
    """Information of the points about each unknown over that of the same points, all seen.

    Of an unknown that moves no point it is zero.
    """
    moved = np.square(jacobian).sum(2)
    seen = (moved / np.square(sigma_px)[..., None]).sum(1)
    good = (moved / np.square(good_sigma_px)[..., None]).sum(1)
    return seen / np.maximum(good, 1e-12)
