"""Deformation transfer by what is exact: a head onto itself, a moved copy, a finer mesh of it."""

import numpy as np
import pytest
from helpers.heads_from_ict import write_flame
from scipy.spatial.transform import Rotation

from flame_assets.arkit import EXPRESSIONS
from flame_assets.formats.flame import convert_flame
from flame_assets.formats.ict import convert_ict
from flame_assets.model.head_module import HeadDecoder
from mica_ext.errors import UserError
from mica_ext.shape_transfer.arkit_shapes import (
    carry_arkit_shapes,
    carry_shapes,
    own_arkit_offsets,
)
from mica_ext.shape_transfer.face_surface import EYEBALL, SKIN, FaceSurface
from mica_ext.shape_transfer.openings import lid_edges, lip_edges

CHOSEN = ("jawOpen", "eyeBlinkLeft", "mouthSmileRight", "mouthRollLower", "browInnerUp")
MICROMETRE = 1e-6


@pytest.fixture(scope="module")
def decoder(head):
    return HeadDecoder(head)


@pytest.fixture(scope="module")
def surface(decoder):
    return FaceSurface.of_head(decoder)


@pytest.fixture(scope="module")
def offsets(decoder):
    """Of the chosen shapes, eyeballs at rest [m]."""
    return own_arkit_offsets(decoder).astype(float)[[EXPRESSIONS.index(name) for name in CHOSEN]]


def errors(carried, truth, surface):
    return np.linalg.norm(carried - truth, axis=2)[:, surface.parts != EYEBALL]


def test_a_head_onto_itself_keeps_its_shapes(surface, offsets):
    carried = carry_shapes(surface, surface, surface.vertices + offsets).offsets
    assert errors(carried, offsets, surface).max() < MICROMETRE


def test_a_scaled_and_turned_copy_gets_scaled_and_turned_shapes(surface, offsets):
    scale, turn = 1.3, Rotation.from_euler("ZXY", [20, -35, 50], degrees=True).as_matrix()

    def moved(points):
        return scale * points @ turn.T + [0.1, -0.2, 0.3]

    copy = surface._replace(
        vertices=moved(surface.vertices),
        spots=moved(surface.spots),
        eyes=moved(surface.eyes),
        unit=scale * surface.unit,
    )
    carried = carry_shapes(surface, copy, surface.vertices + offsets).offsets
    assert errors(carried, scale * offsets @ turn.T, surface).max() < MICROMETRE


@pytest.mark.slow
def test_a_finer_mesh_of_the_head_gets_interpolated_shapes(surface, offsets):
    """Each triangle cut into four: the truth at an edge's middle is the mean of its ends."""
    edges = np.concatenate([surface.triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    unique, inverse = np.unique(np.sort(edges, 1), axis=0, return_inverse=True)
    count = len(surface.vertices)
    ab, bc, ca = (count + inverse).reshape(3, -1)
    a, b, c = surface.triangles.T
    fine = np.concatenate(
        [np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    )

    def with_middles(values):
        return np.concatenate([values, values[..., unique, :].mean(-2)], -2)

    def labels(values):
        first, last = values[unique].T
        return np.concatenate([values, np.where(first == last, first, 0)]).astype(np.int8)

    target = surface._replace(
        vertices=with_middles(surface.vertices),
        triangles=fine,
        parts=labels(surface.parts),
        sides=labels(surface.sides),
    )
    carried = carry_shapes(surface, target, surface.vertices + offsets).offsets
    error = errors(carried, with_middles(offsets), target)
    assert np.median(error) < 1e-5
    assert np.percentile(error, 99.9) < 3e-4


@pytest.fixture(scope="module")
def carried(decoder):
    return carry_arkit_shapes(decoder, decoder)


def test_all_shapes_eyeballs_included_come_back_from_the_head_itself(decoder, carried):
    assert np.abs(carried.offsets - own_arkit_offsets(decoder)).max() < MICROMETRE


def test_a_person_with_wider_lids_still_closes_them(decoder, surface, carried):
    """The mean head's blink leaves the lids of others apart; the correction closes them."""
    head, row = decoder.head, EXPRESSIONS.index("eyeBlinkLeft")
    edges = lid_edges(surface, 0)
    gap_modes = np.einsum("pv,vxs->pxs", edges.upper.toarray() - edges.lower.toarray(),
                          head.shape_basis)[:, 1]  # fmt: skip
    wider = gap_modes.mean(0)
    shape = 2.5 * wider / np.linalg.norm(wider)
    person = head.template + np.float32(head.shape_basis @ np.float32(shape))
    opened = edges.gaps(person.astype(float)) - edges.gaps(surface.vertices)
    assert np.abs(opened[:, 1]).max() > 5e-4

    def left(blink):
        return np.abs(edges.gaps(person + blink.astype(float))[:, 1]).mean()

    corrected = carried.of_person(head.template, person)[row]
    mean_left = np.abs(edges.gaps(surface.vertices + carried.offsets[row])[:, 1]).mean()
    assert left(corrected) < mean_left + 1e-4
    assert left(carried.offsets[row]) > left(corrected) + 2e-4


def test_a_head_without_a_face_is_one_line(toy_decoder):
    with pytest.raises(UserError, match="iBUG's order"):
        FaceSurface.of_head(toy_decoder)


@pytest.fixture
def toy_decoder():
    from helpers.mica_toy import toy_head

    return HeadDecoder(toy_head())


@pytest.fixture(scope="module")
def ict(shared_data):
    return HeadDecoder(convert_ict(shared_data / "ict_facekit" / "ict_facekit_light.npz"))


@pytest.mark.slow
def test_ict_shapes_through_anthro_and_back(ict, decoder, surface):
    """Another mesh, another face: what comes back is what was sent, to a fraction of a mm."""
    own, source = own_arkit_offsets(ict).astype(float), FaceSurface.of_head(ict)
    there = carry_shapes(source, surface, source.vertices + own).offsets
    back = carry_shapes(surface, source, surface.vertices + there).offsets
    face = np.arange(9409)
    sizes = np.linalg.norm(own, axis=2)[:, face]
    error = 1000 * np.linalg.norm(back - own, axis=2)[:, face]
    moving = sizes > 0.1 * sizes.max(1, keepdims=True)
    means = np.array([row[m].mean() for row, m in zip(error, moving, strict=True)])
    assert means.mean() < 0.35
    assert means.max() < 1.3
    opening, closing = (EXPRESSIONS.index(name) for name in ("jawOpen", "mouthClose"))
    lips = lip_edges(surface)
    closed = lips.gaps(surface.vertices + there[opening] + there[closing])
    opened = lips.gaps(surface.vertices + there[opening])
    assert (opened[:, 1] > 0.010).all()
    assert (closed[:, 1] < 0.001).all()


@pytest.mark.slow
def test_a_flame_file_with_ict_s_people_gets_anthro_s_shapes(ict, decoder, tmp_path):
    """Skin and eyeballs only, and a jaw joint: lids meet in a blink, lips do not tear."""
    flame = HeadDecoder(convert_flame(write_flame(ict.head, tmp_path / "FLAME2020")))
    carried = carry_arkit_shapes(decoder, flame)
    target = FaceSurface.of_head(flame)
    for eye, name in ((0, "eyeBlinkLeft"), (1, "eyeBlinkRight")):
        edges, row = lid_edges(target, eye), EXPRESSIONS.index(name)
        open_gap = edges.gaps(target.vertices)[:, 1]
        left = edges.gaps(target.vertices + carried.offsets[row])[:, 1]
        assert np.abs(left).mean() < 0.1 * open_gap.mean()
    lengths = edge_lengths(target, target.vertices)
    for name, offset in zip(carried.names, carried.offsets, strict=True):
        longer = edge_lengths(target, target.vertices + offset) / lengths
        assert np.percentile(longer, 99.9) < 12, name


def edge_lengths(surface, vertices):
    skin = surface.triangles[surface.parts[surface.triangles[:, 0]] == SKIN]
    return np.linalg.norm(vertices[skin] - vertices[np.roll(skin, 1, axis=1)], axis=2)
