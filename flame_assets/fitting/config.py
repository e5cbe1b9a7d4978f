"""Settings of the fits."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MeshFitConfig:
    """Settings of the fit to registered meshes."""

    sigma_mm: float = 0.1
    """Standard deviation of the vertices, against which shape and expression coefficients have
    unit normal priors. Small: thousands of vertices determine the coefficients; the prior only
    settles what they do not."""
    shape_iterations: int = 12
    """At most, of the joint fit of the identity."""
    iterations: int = 12
    """At most, of the fit of each frame."""
    tolerance_mm: float = 0.001
    """A fit ends when the coming steps, extrapolated from the last two, move no mesh by more (root
    mean square)."""
    shape_frames: int = 48
    """Frames that a subject's identity is fitted to, evenly taken from all."""
    chunk: int = 8
    """Frames fitted at a time: few, so that they stay in the processor's cache."""

    def __post_init__(self) -> None:
        if not (self.sigma_mm > 0 and self.tolerance_mm > 0):
            raise ValueError("MeshFitConfig: expected sigma_mm and tolerance_mm above 0")
        if min(self.shape_iterations, self.iterations, self.shape_frames, self.chunk) < 1:
            raise ValueError("MeshFitConfig: expected counts of 1 or more")


@dataclass(frozen=True, kw_only=True)
class LandmarkFitConfig:
    """Settings of the fit to 3D landmarks."""

    sigma_mm: float = 1.0
    """Standard deviation of the landmarks; coefficients have unit normal priors."""
    jaw_sigma: float = 0.2
    """Standard deviation of the jaw's rotation vector [rad]: few points tell it from expression."""
    neck_sigma: float = 0.2
    """Of the neck's [rad]; landmarks of the face do not move with it alone."""
    iterations: int = 20
    """At most."""
    tolerance_mm: float = 0.001
    """A fit ends when no step moves the landmarks by more (root mean square)."""
