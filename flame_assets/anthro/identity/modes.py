"""Identity: 100 modes with unit-normal coefficients, ordered by the variance they explain.

The prior is a sum of named fields (one per anthropometric trait), overall size and stretches, and a
smooth Gaussian process over the controls. It is conditioned on the covariance of scanned people at
the stations of `scanned_people` (face) and on the published spreads of `measures.MEASURES` (skull,
ears, neck), then diagonalised in vertex space with the face weighted most. A second, smaller
Gaussian process without mirror symmetry gives a few antisymmetric modes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.distance import cdist

from flame_assets.anthro.identity.measures import MEASURES, Measure, ends
from flame_assets.anthro.identity.scanned_people import ScannedPeople, scanned_people
from flame_assets.anthro.identity.traits import TRAITS
from flame_assets.anthro.parts import eyes
from flame_assets.anthro.surface.control_set import ControlSet
from flame_assets.anthro.surface.displacements import bump
from flame_assets.anthro.surface.head_surface import Surface
from flame_assets.anthro.surface.thin_plate import field_basis

COUNT = 100
ANTISYMMETRIC = 6
_SIZE, _STRETCH = 0.035, 0.03
_CENTRE = np.array([0.0, -10.0, 20.0])
_SYMMETRIC_PROCESS = ((2.6, 55.0), (1.3, 24.0), (0.6, 11.0))
_ANTISYMMETRIC_PROCESS = ((1.1, 60.0), (0.6, 26.0))
"""(standard deviation, correlation length) of each kernel [mm]."""
_ANTISYMMETRIC_AXES = (1.0, 1.01, 1.0)
"""Spread along x, y, z. Heights and depths alike would make equal modes, any mixture of which a
solver may give: another head on another processor."""
_CALIBRATIONS = 4
"""Rounds; the later ones make up for what dropped modes and lids held on the globe take away."""
EAR_SDS = (3.6, 2.6, 2.6)
"""Spread of ear length, width and protrusion [mm]; adults: 62 +- 4 long, 36 +- 3 wide."""


class IdentityModes(NamedTuple):
    """Modes over the controls [c, 3, k] and over the ears' three traits [3, k], mm per SD."""

    controls: Float[ndarray, "c 3 k"]
    ears: Float[ndarray, "3 k"]


def _process(
    controls: ControlSet, kernels: tuple[tuple[float, float], ...]
) -> Float[ndarray, "c c"]:
    distance = cdist(controls.positions, controls.positions)
    terms = [sd * sd * np.exp(-0.5 * (distance / length) ** 2) for sd, length in kernels]
    return np.sum(terms, axis=0)


def _parity(controls: ControlSet, sign: float) -> Float[ndarray, "m n"]:
    """Orthonormal basis [3c, n] of the mirror-symmetric (+1) or antisymmetric (-1) fields."""
    count = len(controls.positions)
    columns = []
    flip = np.array([-1.0, 1.0, 1.0])
    for row in range(count):
        twin = controls.mirror[row]
        if twin < row:
            continue
        for axis in range(3):
            column = np.zeros((count, 3))
            column[row, axis] += 1
            column[twin, axis] += sign * flip[axis]
            norm = np.linalg.norm(column)
            if norm > 0:
                columns.append((column / norm).ravel())
    return np.stack(columns, 1)


def _measure_rows(controls: ControlSet, measures: Sequence[Measure]) -> Float[ndarray, "m d"]:
    """Linearised measures [mm] over the controls' coordinates, taken on the (soft) surface."""
    surface = field_basis(controls, controls.domain)
    points = surface @ controls.positions
    rows = []
    for measure in measures:
        a, b = ends(measure, lambda name: points[controls.index[name]])
        direction = (a - b) / np.linalg.norm(a - b)
        first = controls.index[measure.first]
        if measure.second is None:
            second = controls.mirror[first]
        else:
            second = controls.index[measure.second]
        rows.append(np.outer(surface[first] - surface[second], direction).ravel())
    return np.array(rows)


def _like_scanned_people(
    controls: ControlSet,
    prior: Float[ndarray, "n n"],
    parity: Float[ndarray, "d n"],
    people: ScannedPeople,
) -> Float[ndarray, "n n"]:
    """The prior, in coordinates of `parity`, changed so that stations vary as scanned people do.

    Law of total covariance: given noisy stations the controls keep the prior's conditional
    distribution, and the stations themselves take the scanned covariance. The noise is what the
    shipped components leave out; without it, stations that nearly coincide would be torn apart.
    """
    at = [controls.index[name] for name in people.stations]
    rows = np.kron(field_basis(controls, controls.domain)[at], np.eye(3)) @ parity
    factor = people.factor.reshape(len(rows), -1)
    noise = people.residual**2 * np.eye(len(rows))
    across = prior @ rows.T
    gain = np.linalg.solve(rows @ across + noise, across.T).T
    return prior - gain @ across.T + gain @ (factor @ factor.T + noise) @ gain.T


def _calibrate(
    covariance: Float[ndarray, "d d"], rows: Float[ndarray, "m d"], target: Float[ndarray, " m"]
) -> Float[ndarray, "d d"]:
    """The prior conditioned so that the measures have the spreads `target` [mm].

    Correlations between the measures stay the prior's; what they leave free stays as it was.
    """
    across = covariance @ rows.T
    spread = rows @ across + 1e-6 * np.eye(len(rows))
    sd = np.sqrt(np.diag(spread))
    wanted = spread * np.outer(target / sd, target / sd)
    gain = np.linalg.solve(spread, across.T).T
    return covariance + gain @ (wanted - spread) @ gain.T


def _symmetric_prior(controls: ControlSet) -> Float[ndarray, "d d"]:
    fields = [_SIZE * (controls.positions - _CENTRE)]
    for axis in range(3):
        stretch = np.zeros_like(controls.positions)
        stretch[:, axis] = _STRETCH * (controls.positions - _CENTRE)[:, axis]
        fields.append(stretch)
    fields += [trait.sd * bump(controls, trait.at, trait.along, trait.width) for trait in TRAITS]
    factor = np.stack([field.ravel() for field in fields], 1)
    return factor @ factor.T + np.kron(_process(controls, _SYMMETRIC_PROCESS), np.eye(3))


def _principal(
    prior: Float[ndarray, "n n"],
    metric: Float[ndarray, "c c"],
    parity: Float[ndarray, "d n"],
    count: int,
) -> tuple[Float[ndarray, "d k"], Float[ndarray, " k"]]:
    """Modes of largest variance in the metric, among the fields of one parity; and variances.

    `prior` is the covariance in the coordinates of `parity`.
    """
    weight = parity.T @ np.kron(metric, np.eye(3)) @ parity
    ridge = 1e-9 * np.trace(weight) / len(weight)
    lower = np.linalg.cholesky(weight + ridge * np.eye(len(weight)))
    whitened = lower.T @ prior @ lower
    values, vectors = np.linalg.eigh(whitened)
    values, vectors = values[-count:], vectors[:, -count:]
    modes = parity @ (prior @ (lower @ vectors)) / np.sqrt(values)
    return modes[:, ::-1], values[::-1]


def _keep_lids_on_globe(controls: ControlSet, modes: Float[ndarray, "c 3 k"]) -> None:
    """Let the lid margin move with the globe and along it, never off it radially."""
    for right in (False, True):
        rows = controls.lid(right)
        centre = eyes.CENTRE * np.array([-1.0 if right else 1.0, 1.0, 1.0])
        ray = controls.positions[rows] - centre
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        common = modes[rows].mean(axis=0)
        own = modes[rows] - common
        # the canthi lie off the globe and are free
        held = np.abs(np.sin(np.pi * np.arange(len(rows)) / 8))[:, None] ** 0.5
        radial = held * np.einsum("ia,iak->ik", ray, own)
        modes[rows] = common + own - ray[:, :, None] * radial[:, None]


def _finished(controls: ControlSet, modes: Float[ndarray, "d k"]) -> Float[ndarray, "d k"]:
    """Modes whose lids stay on the globe and whose seam follows its named points."""
    fields = modes.reshape(len(controls.positions), 3, -1).copy()
    _keep_lids_on_globe(controls, fields)
    return np.stack([controls.with_seam(field).ravel() for field in np.moveaxis(fields, 2, 0)], 1)


def identity_modes(controls: ControlSet, surface: Surface) -> IdentityModes:
    """The calibrated modes, symmetric and antisymmetric together, by falling variance."""
    z, y = surface.vertices[:, 2], surface.vertices[:, 1]
    face = np.where((z > 15) & (y > -125) & (y < 75), 1.0, 0.25)
    basis = surface.identity_basis
    metric = basis.T @ (face[:, None] * basis)
    parity = _parity(controls, 1.0)
    published = [measure for measure in MEASURES if measure.source == "published"]
    rows = _measure_rows(controls, published)
    stated = np.array([measure.sd for measure in published])
    free = parity.T @ _symmetric_prior(controls) @ parity
    people = scanned_people()
    target = stated
    keep = COUNT - ANTISYMMETRIC - len(EAR_SDS)
    for _ in range(_CALIBRATIONS):
        prior = _calibrate(free, rows @ parity, target)
        prior = _like_scanned_people(controls, prior, parity, people)
        even, even_variance = _principal(prior, metric, parity, keep)
        even = _finished(controls, even)
        kept = np.linalg.norm(rows @ even, axis=1)
        target = target * np.clip(stated / kept, 0.7, 1.5)
    parity = _parity(controls, -1.0)
    axes = np.diag(np.square(_ANTISYMMETRIC_AXES))
    process = np.kron(_process(controls, _ANTISYMMETRIC_PROCESS), axes)
    odd, odd_variance = _principal(parity.T @ process @ parity, metric, parity, ANTISYMMETRIC)
    odd = _finished(controls, odd)

    ear_variance = [
        sd
        * sd
        * np.einsum("v,vi,vi->", face, surface.ear_modes[:, :, k], surface.ear_modes[:, :, k])
        for k, sd in enumerate(EAR_SDS)
    ]
    field = np.concatenate([even, odd, np.zeros((len(even), len(EAR_SDS)))], axis=1)
    ears = np.zeros((len(EAR_SDS), COUNT))
    ears[:, -len(EAR_SDS) :] = np.diag(EAR_SDS)
    variance = np.r_[even_variance, odd_variance, ear_variance]
    variance *= 1 - 1e-6 * np.arange(COUNT)  # two ear modes are equal but for rounding
    order = np.argsort(-variance, kind="stable")
    modes = field[:, order].reshape(len(controls.positions), 3, COUNT)
    modes *= np.sign(modes.sum(axis=(0, 1)) + 1e-12)
    return IdentityModes(modes, ears[:, order])
