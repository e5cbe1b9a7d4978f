"""The expression branch: zero in the beginning, every part heard, and MICA's identity untouched."""

import dataclasses

import pytest
import torch
from helpers.identity_tiny import identity_head, identity_network

from flame_assets.model.head_module import HeadDecoder
from mica_ext.errors import UserError
from mica_ext.expression.branch import ExpressionBranch
from mica_ext.expression.config import BranchConfig
from mica_ext.expression.network import ExpressionNetwork, head_parameters
from mica_ext.models.pose import in_pose
from pacofr.models.config import VitConfig
from pacofr.models.encoders import face_encoder
from pacofr.models.vit import VisionTransformer

SMALL = BranchConfig(width=16, heads=2, depth=1)
EXPRESSIONS = 8


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return VisionTransformer(VitConfig(image_size=32, width=24, depth=6, heads=2))


@pytest.fixture
def crops():
    return torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def test_an_untrained_branch_gives_the_neutral_face_from_the_front(vit, crops):
    for values in ExpressionNetwork(vit, SMALL, EXPRESSIONS).read(crops):
        assert torch.equal(values, torch.zeros_like(values))


def test_levels_are_those_of_the_paper_scaled_to_the_depth(vit, crops):
    """Of 6 blocks the outputs of 1, 2, 4 and 6, class token included, all as keys."""
    network = ExpressionNetwork(vit, SMALL, EXPRESSIONS)
    tokens = vit.embed(network.encoder.prepare(crops))
    outputs = []
    for number, block in enumerate(vit.blocks, start=1):
        tokens = block(tokens)
        if number in (1, 2, 4, 6):
            outputs.append(tokens)
    levels = network.encoder(crops)
    assert len(levels) == 4
    for level, expected in zip(levels, outputs, strict=True):
        torch.testing.assert_close(level, expected)
    assert [keys.shape for keys in network.branch.keys(levels)] == 4 * [(3, 1 + 4, 16)]


def test_an_encoder_of_few_blocks_has_fewer_levels(crops):
    """Of 4 blocks, layers 2 and 4 of 12 are both the first."""
    vit = VisionTransformer(VitConfig(image_size=32, width=24, depth=4, heads=2))
    network = ExpressionNetwork(vit, SMALL, EXPRESSIONS)
    assert len(network.encoder(crops)) == len(network.branch.level_embedding) == 3
    assert network.read(crops).expression.shape == (3, EXPRESSIONS)


def trained(network, crops, steps=3):
    """A few steps towards made-up parameters."""
    targets = torch.Generator().manual_seed(2)
    wanted = [
        0.3 * torch.randn(values.shape, generator=targets)
        for values in network.read(crops)
        if values.shape[1]
    ]
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(steps):
        found = [values for values in network.read(crops) if values.shape[1]]
        pairs = zip(found, wanted, strict=True)
        loss = torch.stack([(some - true).square().mean() for some, true in pairs]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("identity", [False, True])
def test_every_query_learns_its_own_and_every_level_is_heard(vit, crops, identity):
    config = dataclasses.replace(SMALL, identity=identity)
    network = ExpressionNetwork(vit, config, EXPRESSIONS, shape_count=6)
    assert network.read(crops).shape.shape == (3, 6 if identity else 0)
    losses = trained(network, crops, steps=40)
    assert losses[-1] < 0.6 * losses[0]
    branch = network.branch
    levels = [level.detach().requires_grad_() for level in network.encoder(crops)]
    sum(values.square().sum() for values in branch(levels)).backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)
    assert (branch.queries.grad.abs().sum(1) > 0).all()
    assert (branch.level_embedding.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("tuned", [False, True])
def test_the_encoder_is_frozen_or_tuned(vit, crops, tuned):
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    network = ExpressionNetwork(vit, SMALL, EXPRESSIONS, tuned=tuned)
    trained(network, crops)
    after = vit.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    if tuned:
        assert {"blocks.0.attn.qkv.weight", "cls_token"}.isdisjoint(same)
    else:
        assert same == before.keys()


def test_the_neutral_mesh_stays_mica_s_to_the_last_bit(vit, crops):
    """Identity frozen, branch trained: expression moves the posed mesh only."""
    head, identity = identity_head(), identity_network()
    decoder = HeadDecoder(head)
    arcface = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        shape = identity(arcface).shape
        mica = head_parameters(ExpressionNetwork(vit, SMALL, EXPRESSIONS).read(crops), shape, None)
        before = decoder(in_pose(mica, "neutral")).vertices
    network = ExpressionNetwork(vit, SMALL, head.expression_count)
    trained(network, crops)
    with torch.no_grad():
        parameters = head_parameters(network.read(crops), identity(arcface).shape, (0.0, 1.0))
        after = decoder(in_pose(parameters, "neutral")).vertices
        posed = decoder(in_pose(parameters, "expressive")).vertices
    assert torch.equal(after, before)
    assert not torch.equal(posed, before)
    assert parameters.expression.min() >= 0


def test_another_encoder_is_one_line(vit, crops):
    branch = ExpressionBranch(SMALL, 32, EXPRESSIONS, tokens=5)
    with pytest.raises(UserError, match="levels of width 32, got 4 of width 24"):
        branch(face_encoder(vit)(crops))
    with pytest.raises(UserError, match="expected 4 levels of width 24, got 3"):
        ExpressionBranch(SMALL, 24, EXPRESSIONS, tokens=5)(face_encoder(vit, (2, 4, 8))(crops))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": (4, 2)}, "rising order"),
        ({"layers": (0, 4)}, "between 1 and 12"),
        ({"width": 10, "heads": 4}, "4 heads divide, got 10"),
        ({"depth": 0}, "decoder layers"),
    ],
)
def test_sizes_that_cannot_be_are_one_line(changes, words):
    with pytest.raises(UserError, match=words):
        BranchConfig(**changes)
