"""Settings of the landmark fit."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Noise of the points, priors of the coefficients, bounds, iterations."""

    default_distance_m: float = 1.0
    """Camera to face where the focal length is unknown, unless `min_focal_ratio` makes it more."""
    min_focal_ratio: float = 0.75
    """Least assumed focal length, in longer sides of the photo: 27 mm on 35 mm film."""
    pose_iterations: int = 4
    """Gauss-Newton steps for rotation and translation alone, from a frontal start."""
    iterations: int = 6
    """Gauss-Newton steps for all unknowns."""
    landmark_sigma: float = 0.014
    """Standard deviation of the 51 inner landmarks, in distances of the outer eye corners."""
    contour_sigma: float = 0.03
    """The same for the 17 contour landmarks, which slide along the outline."""
    robust_threshold: float = 4.0
    """Scale of the Cauchy weights: a residual of this many standard deviations counts half."""
    shape_sigma: float = 0.6
    """Standard deviation of the shape coefficients. Below the population's 1 because the landmarks'
    errors are correlated, and their common part would be fitted by shape."""
    expression_prior_scale: float = 2.0
    """Factor on the standard deviations of the sampled expressions."""
    expression_sigma_floor: float = 0.06
    """Standard deviation added, in quadrature, to every expression weight."""
    jaw_sigma: tuple[float, float, float] = (0.25, 0.03, 0.02)
    """Standard deviations of the jaw's rotation vector [rad]: opening, sideways, twist."""
    jaw_opening_sigma_floor: float = 0.01
    """Standard deviation [rad] of the opening added to that of the sampled expressions."""
    jaw_min: tuple[float, float, float] = (0.0, -0.15, -0.1)
    jaw_max: tuple[float, float, float] = (0.55, 0.15, 0.1)
    """Bounds of the jaw's rotation vector [rad]."""
