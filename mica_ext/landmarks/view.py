"""The part of the face crop that the landmark network sees; imports no torch."""

from jaxtyping import Float, Float64, Shaped
from numpy import float32, ndarray

from pacofr.faces.align import CropWindow, compose, move_points, quad_matrix

VIEW = CropWindow(start=16, side=192, pixels=128)


def view_matrix(quad: Float64[ndarray, "4 2"]) -> Float64[ndarray, "2 3"]:
    """Photo -> view pixels for an FFHQ square of the photo (`ffhq_quad`)."""
    return compose(VIEW.from_crop, quad_matrix(quad))


def view_to_crop(points: Shaped[ndarray, "68 2"]) -> Float[ndarray, "68 2"]:
    """View pixels -> crop pixels."""
    return move_points(VIEW.to_crop, points).astype(float32)
