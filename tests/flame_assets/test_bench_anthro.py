"""The figures of Anthro against ICT-FaceKit come from functions that are right on known heads.

ICT's place is taken by Anthro itself, cut to ICT's layout: its fits must find what made it.
"""

import numpy as np
import pytest
from bench.anthro_against_ict import figures_of, fit_expression, fit_person
from bench.anthro_ict_fit import ICT_VERTICES, Ict, Model, fit_identity, identity_target

from flame_assets.anthro import EXPRESSIONS

FILLER = int(ICT_VERTICES.max()) + 1
"""Rows before the mesh, among which ICT's landmark vertices lie."""
MODES = 3


@pytest.fixture(scope="module")
def model(head):
    return Model(head)


@pytest.fixture(scope="module")
def anthro_as_ict(model):
    """Anthro's skin, three of its identity modes and its jawOpen."""

    def in_layout(field):
        rows = np.zeros((FILLER, *field.shape[1:]))
        rows[ICT_VERTICES] = model.landmarks(field)
        return np.concatenate([rows, field])

    skin = np.unique(model.triangles)
    front = model.template[skin, 2] > np.quantile(model.template[skin, 2], 0.6)
    jaw_open = np.eye(len(EXPRESSIONS))[EXPRESSIONS.index("jawOpen")]
    opened = model.expressed(model.template, jaw_open)
    return Ict(
        neutral=in_layout(model.template),
        identity=in_layout(model.shape[:, :, :MODES]).transpose(2, 0, 1),
        expression={"jawOpen": in_layout(opened) - in_layout(model.template)},
        triangles=model.triangles + FILLER,
        visible=skin[front][::4] + FILLER,
    )


def test_a_person_made_of_anthros_own_modes_is_found(model, anthro_as_ict):
    fit = fit_person(model, anthro_as_ict, 3)
    median, landmarks = figures_of([fit])
    assert median[0] < 0.05  # [mm]
    assert landmarks[0] < 0.1
    made_of = np.zeros(len(fit.coefficients))
    made_of[:MODES] = np.random.default_rng(3).standard_normal(MODES)
    assert np.corrcoef(fit.coefficients, made_of)[0, 1] > 0.97


def test_figures_are_those_of_points_that_agree(model, anthro_as_ict):
    fit = fit_person(model, anthro_as_ict, 3)
    distance = np.where(np.arange(len(fit.distance)) % 2, 2.0, 50.0)
    fit = fit._replace(distance=distance, agree=distance < 10, landmark_error=np.arange(15.0))
    assert figures_of([fit, fit]) == ([2.0, 2.0], [7.0, 7.0])


def test_an_expression_is_found_with_its_amplitude(model, anthro_as_ict):
    base = fit_identity(model, identity_target(anthro_as_ict, anthro_as_ict.neutral))
    found = fit_expression(model, anthro_as_ict, base, "jawOpen")
    assert found.still > 1.0  # [mm]
    assert max(found.own, found.all_modes) < 0.1
    assert found.field_amplitude == pytest.approx(1.0, abs=0.03)
    assert found.surface_amplitude == pytest.approx(1.0, abs=0.03)
