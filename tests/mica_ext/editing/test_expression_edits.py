"""Edits of expressions by ARKit's names, and faces on another head, against known movements."""

import numpy as np
import pytest
import torch
from helpers.arkit_faces import WEIGHTS, of_weights
from helpers.mica_toy import toy_face

from flame_assets.arkit import EXPRESSIONS, JAW_OPEN
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.editing.expression import MOVEMENT, ExpressionEditor, parse_weights
from mica_ext.editing.named_expressions import NAMED_EXPRESSIONS
from mica_ext.editing.other_head import carry_face, with_expression_of
from mica_ext.errors import UserError
from mica_ext.models.projection import project
from mica_ext.models.types import Camera, FaceParameters


@pytest.fixture
def flame_like(flame_like_store, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", str(flame_like_store))
    (flame_like_store / "cache").mkdir(exist_ok=True)
    return load_head("flame-like")


@pytest.fixture(scope="module")
def editor(head):
    return ExpressionEditor(head)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jawopen=0.4", "no such ARKit shape; near it: jawOpen"),
        ("mouthSmile=0.4", "near it: mouthSmileLeft"),
        ("xyz=0.4", "near it: jawOpen, mouthSmileLeft, ..."),
        ("jawOpen=1.2", "expected a weight from 0 to 1"),
        ("jawOpen=nan", "expected a weight from 0 to 1"),
        ("jawOpen=wide", "expected a weight from 0 to 1"),
        ("jawOpen", "expected NAME=VALUE"),
        ("tongueOut=1", "no such ARKit shape"),
    ],
)
def test_weights_that_make_no_sense_are_one_line(text, words):
    with pytest.raises(UserError, match=words) as told:
        parse_weights(["browInnerUp=1", text])
    assert "\n" not in str(told.value)


def test_of_a_weight_given_twice_the_last_counts():
    assert parse_weights(["jawOpen=0.1", " jawOpen = 1 "]) == {"jawOpen": 1.0}


def test_a_weight_is_set_and_the_others_stay(head, editor):
    face = of_weights(head, WEIGHTS)
    tilted = face._replace(jaw_pose=face.jaw_pose + torch.tensor([[0.02, 0.03, 0.0]]))
    changed = editor.changed(tilted, {"jawOpen": 0.7, "eyeLookOutLeft": 0.5})
    wanted = of_weights(head, WEIGHTS | {"jawOpen": 0.7, "eyeLookOutLeft": 0.5})
    torch.testing.assert_close(changed.expression, wanted.expression)
    torch.testing.assert_close(changed.left_eye_pose, wanted.left_eye_pose)
    torch.testing.assert_close(changed.right_eye_pose, face.right_eye_pose)
    opened = torch.tensor([[0.4 * JAW_OPEN, 0.0, 0.0]])
    torch.testing.assert_close(changed.jaw_pose, tilted.jaw_pose + opened)
    assert torch.equal(changed.shape, face.shape)


def test_scaling_leaves_the_gaze_and_the_bounds(head, editor):
    face = of_weights(head, WEIGHTS)
    half = editor.scaled(face, 0.5)
    looks = {name: value for name, value in WEIGHTS.items() if "Look" in name}
    halved = {name: value / 2 for name, value in WEIGHTS.items()} | looks
    for ours, theirs in zip(half, of_weights(head, halved), strict=True):
        torch.testing.assert_close(ours, theirs)
    tripled = editor.scaled(face, 3.0)
    assert float(tripled.expression.max()) == 1.0
    torch.testing.assert_close(tripled.jaw_pose, 3 * face.jaw_pose)


def test_every_named_expression_moves_the_face_its_own_way(head, editor):
    decoder = HeadDecoder(head)
    rest = HeadParameters.zeros(head)
    meshes = [
        decoder(editor.with_weights(rest, weights)).vertices[0].numpy()
        for weights in NAMED_EXPRESSIONS.values()
    ]
    assert len(meshes) == 12
    for first in range(12):
        for second in range(first):
            apart = np.linalg.norm(meshes[first] - meshes[second], axis=1)
            assert apart.max() > 0.003, list(NAMED_EXPRESSIONS)[first]


def test_on_a_flame_like_head_a_weight_is_added_to_what_is_there(head, flame_like):
    editor = ExpressionEditor(flame_like)
    face = HeadParameters.zeros(flame_like)
    face.expression[0, :5] = torch.tensor([0.6, -0.4, 0.3, 0.5, -0.2])
    assert editor.changed(face, {}) is face
    now = editor.weights(face)
    same = editor.changed(face, {"jawOpen": now["jawOpen"]})
    for one, other in zip(same, face, strict=True):
        torch.testing.assert_close(one, other)
    opened = editor.changed(face, {"jawOpen": 0.6})
    assert editor.weights(opened)["jawOpen"] == pytest.approx(0.6, abs=0.1)
    # the movement is that of Anthro's own jawOpen
    decoders = HeadDecoder(flame_like), HeadDecoder(head)
    moved = decoders[0](opened).vertices - decoders[0](face).vertices
    wanted = decoders[1](of_weights(head, {"jawOpen": 0.6})).vertices
    wanted = wanted - decoders[1](of_weights(head, {"jawOpen": now["jawOpen"]})).vertices
    skin = torch.from_numpy(head.regions["face"].copy())
    left = torch.linalg.norm((moved - wanted)[0, skin], dim=1).square().mean().sqrt()
    assert float(left) < 0.15 * float(wanted[0, skin].norm(dim=1).square().mean().sqrt())


def test_a_face_on_another_head_is_the_same_person_with_the_same_expression(head, flame_like):
    """The FLAME-like head has Anthro's vertices and identity modes: the truth is known."""
    source, target = HeadDecoder(head), HeadDecoder(flame_like)
    posed = of_weights(head, WEIGHTS)._replace(
        global_pose=torch.tensor([[0.1, 0.4, 0.05]]), neck_pose=torch.tensor([[0.05, -0.1, 0.0]])
    )
    camera = Camera(torch.tensor([900.0]), torch.tensor([[320.0, 240.0]]), torch.zeros(1, 3))
    camera = camera._replace(translation=torch.tensor([[0.0, 0.1, -0.6]]))
    face = toy_face(head)._replace(parameters=FaceParameters(posed, camera))
    carried, distance = carry_face(face, source, target)
    assert distance < 0.4
    neutral = [
        decoder(HeadParameters.zeros(h)._replace(shape=p.shape)).vertices[0].numpy()
        for decoder, h, p in ((source, head, posed), (target, flame_like, carried.parameters.head))
    ]
    skin = np.array(head.regions["face"])
    apart = 1000 * np.linalg.norm(neutral[0] - neutral[1], axis=1)[skin]
    mean = 1000 * np.linalg.norm(neutral[0] - head.template, axis=1)[skin]
    assert np.sqrt(np.square(apart).mean()) < 0.2 * np.sqrt(np.square(mean).mean())
    pixels = []
    for decoder, parameters in ((source, face.parameters), (target, carried.parameters)):
        vertices = decoder(parameters.head).vertices[:, skin]
        pixels.append(project(parameters.camera, vertices)[0].numpy())
    off = np.linalg.norm(pixels[0] - pixels[1], axis=1)
    eyes = 900 * 0.09 / 0.6  # about the eyes' distance [px]
    assert np.sqrt(np.square(off).mean()) < 0.02 * eyes
    assert carried.provenance.head.name == "flame-like"


def test_another_s_expression_leaves_person_and_place(head, flame_like):
    mine = of_weights(head, {"browInnerUp": 0.5})._replace(global_pose=torch.full((1, 3), 0.1))
    decoder = HeadDecoder(head)
    other = toy_face(head)._replace(
        parameters=toy_face(head).parameters._replace(head=of_weights(head, WEIGHTS))
    )
    taken = with_expression_of(mine, decoder, other, decoder)
    for name in HeadParameters._fields:
        giver = other.parameters.head if name in MOVEMENT else mine
        assert torch.equal(getattr(taken, name), getattr(giver, name)), name
    target = HeadDecoder(flame_like)
    on_other = with_expression_of(HeadParameters.zeros(flame_like), target, other, decoder)
    back = ExpressionEditor(flame_like).weights(on_other)
    for name, weight in WEIGHTS.items():
        assert back[name] == pytest.approx(weight, abs=0.3), name
    assert np.mean([back[name] for name in EXPRESSIONS if name not in WEIGHTS]) < 0.03
