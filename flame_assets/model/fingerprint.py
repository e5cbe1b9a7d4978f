"""A fingerprint of a head's geometry, saved with parameters to tell whether a head is theirs.

Name and version are not enough: users choose the names of converted heads. A checksum is too
strict: Anthro is computed with linear algebra whose last bits depend on the processor and its
threads (below 1e-10 m). These weighted sums agree to 1e-8 wherever the same head is built or
loaded.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from flame_assets.model.head import EYE_JOINTS, HeadModel

TOLERANCE = 1e-6
"""Sums closer than this are equal; one vertex moved by 0.01 mm differs."""
_STEP = np.pi * (3 - np.sqrt(5))  # golden angle [rad]: no two weights in a head are alike


class Fingerprint(NamedTuple):
    """One weighted sum per array that the mesh, joints or landmarks of a head depend on."""

    template: float  # [m]
    shape_basis: float  # [m]
    expression_basis: float  # [m]
    pose_basis: float  # [m]
    skinning_weights: float
    joint_regressor: float
    triangles: float  # [m]
    landmarks: float  # [m]
    contours: float  # [m]
    lid_contacts: float  # [m], with the closures


def fingerprint(head: HeadModel) -> Fingerprint:
    """The fingerprint of `head`, in about 10 ms. Regions, colours and names do not enter it."""
    corners = head.template[head.triangles]

    def points(triangles: ndarray, barycentric: ndarray) -> ndarray:
        return np.einsum("...ci,...c->...i", corners[triangles], barycentric)

    contours = np.concatenate(
        [
            points(head.contour_triangles, head.contour_barycentric),
            points(head.static_contour_triangles, head.static_contour_barycentric)[None],
        ]
    )
    contacts = np.zeros((head.vertices_count, 5), np.float32)
    for contact in head.lid_contacts:
        contacts[contact.vertices, contact.joint] = contact.radius
    for index, closure in enumerate(head.lid_closures[: EYE_JOINTS[0]]):
        contacts[closure.vertices, index] = np.linalg.norm(closure.basis, axis=(1, 2))
    return Fingerprint(
        template=weighted_sum(head.template),
        shape_basis=weighted_sum(head.shape_basis),
        expression_basis=weighted_sum(head.expression_basis),
        pose_basis=weighted_sum(head.pose_basis),
        skinning_weights=weighted_sum(head.skinning_weights),
        joint_regressor=weighted_sum(head.joint_regressor.T),
        triangles=weighted_sum(corners),
        landmarks=weighted_sum(points(head.landmark_triangles, head.landmark_barycentric)),
        contours=weighted_sum(contours),
        lid_contacts=weighted_sum(contacts),
    )


def as_text(sums: Fingerprint) -> str:
    """The sums with six decimals, in the order of the fields; compare them with a tolerance."""
    return " ".join(f"{value:.6f}" for value in sums)


def differing(first: Fingerprint, second: Fingerprint) -> tuple[str, ...]:
    """Names of the entries in which two fingerprints differ; none for the same head."""
    return tuple(
        name
        for name, a, b in zip(Fingerprint._fields, first, second, strict=True)
        if not abs(a - b) <= TOLERANCE
    )


def weighted_sum(array: Float[ndarray, "..."]) -> float:
    """Sum of all entries, each with its own weight between -1 and 1; in double precision."""
    rows = array.reshape(len(array), -1)
    across = np.einsum("r,rc->c", _weights(rows.shape[0], 1.0), rows)
    return float(across @ _weights(rows.shape[1], 2.0))


def _weights(count: int, start: float) -> Float[ndarray, " n"]:
    return np.cos(start + _STEP * np.arange(count))
