"""Powell's dogleg step of a Gauss-Newton problem, as the official NoW evaluator takes it."""

import numpy as np
from jaxtyping import Float

CG_TOLERANCE = 1e-5


def dogleg_step(
    hessian: Float[np.ndarray, "N N"], gradient: Float[np.ndarray, " N"], radius: float
) -> Float[np.ndarray, " N"]:
    """Minimise -2 gradient.s + s'hessian s along the dogleg path within |s| <= radius.

    Args:
        hessian: J'J.
        gradient: -J'd, not zero.
        radius: of the trust region.
    """
    cauchy = float(gradient @ gradient) / float(gradient @ hessian @ gradient) * gradient
    if np.linalg.norm(cauchy) >= radius:
        return radius / np.linalg.norm(cauchy) * cauchy
    newton = _conjugate_gradients(hessian, gradient)
    if np.linalg.norm(newton) <= radius:
        return newton
    leg = newton - cauchy
    a, b = float(leg @ leg), 2 * float(cauchy @ leg)
    c = float(cauchy @ cauchy) - radius**2
    return cauchy + (-b + np.sqrt(b * b - 4 * a * c)) / (2 * a) * leg


def _conjugate_gradients(
    matrix: Float[np.ndarray, "N N"], target: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Solve matrix @ x = target from x = 0, to the relative residual of the official solver."""
    solution, residual = np.zeros_like(target), target.copy()
    direction, squared = residual.copy(), float(residual @ residual)
    limit = CG_TOLERANCE * np.sqrt(squared)
    for _ in range(10 * len(target)):
        if np.sqrt(squared) <= limit:
            break
        image = matrix @ direction
        length = squared / float(direction @ image)
        solution += length * direction
        residual -= length * image
        squared, previous = float(residual @ residual), squared
        direction = residual + squared / previous * direction
    return solution
