"""Settings of the fit."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Camera, iterations, priors and bounds of the coefficients."""

    default_distance_m: float = 1.0
    """Camera to face where the focal length is unknown, unless `min_focal_ratio` makes it more."""
    min_focal_ratio: float = 0.75
    """Least assumed focal length, in longer sides of the photo: 27 mm on 35 mm film."""
    pose_iterations: int = 3
    """Gauss-Newton steps for rotation and translation alone."""
    iterations: int = 5
    """Gauss-Newton steps for all unknowns."""
    robust_threshold: float = 4.0
    """Scale of the Cauchy weights: a residual of this many standard deviations counts half."""
    shape_sigma: float = 1.0
    """Standard deviation of the shape coefficients."""
    expression_rate: float = 0.7
    """Rate of the exponential prior on bounded expression weights (an L1 term): most are zero."""
    brow_rate: float = 2.5
    """The same for brows, whose height and slope differ from person to person, too."""
    expression_prior_scale: float = 2.0
    """Factor on the standard deviations of the sampled expressions, of which photos show more."""
    expression_sigma_floor: float = 0.06
    """Standard deviation added, in quadrature, to every expression weight."""
    closed_jaw_max: float = 0.25
    """Upper bound of ARKit's mouthClose, and of jawOpen where the lips meet: without it a long
    lower face is read as a jaw that is wide open behind closed lips."""
    jaw_sigma: tuple[float, float, float] = (0.25, 0.03, 0.02)
    """Standard deviations of a free jaw's rotation vector [rad]: opening, sideways, twist."""
    jaw_min: tuple[float, float, float] = (0.0, -0.15, -0.1)
    jaw_max: tuple[float, float, float] = (0.55, 0.15, 0.1)
    """Bounds of a free jaw's rotation vector [rad]."""
