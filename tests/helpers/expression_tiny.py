"""A small expression network that has something to say, as a folder and in packs."""

import dataclasses
from pathlib import Path

import torch
from helpers.identity_tiny import write_identity_pack

from flame_assets.model.head import HeadModel
from mica_ext.expression.config import BranchConfig
from mica_ext.expression.network import ExpressionNetwork
from mica_ext.expression.weights import save_expression_network
from mica_ext.models.pack import load_pack, save_pack
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer

BRANCH = BranchConfig(width=16, heads=2, depth=1)


def expression_network(head: HeadModel, *, identity: bool = False) -> ExpressionNetwork:
    """Random weights, the same every time, output layers included; may read identity, too."""
    torch.manual_seed(4)
    vit = VisionTransformer(VitConfig(image_size=32, patch_size=16, width=24, depth=4, heads=2))
    config = dataclasses.replace(BRANCH, identity=identity)
    network = ExpressionNetwork(vit, config, head.expression_count, shape_count=head.shape_count)
    own = [network.branch.identity] if identity else []
    for layer in (*network.branch.heads.values(), *own):
        assert isinstance(layer, torch.nn.Linear)
        torch.nn.init.normal_(layer.weight, std=0.02)
        torch.nn.init.normal_(layer.bias, std=0.1)
    return network.eval()


def write_expression_network(folder: Path, head: HeadModel, *, identity: bool = False) -> Path:
    """Its folder."""
    save_expression_network(
        expression_network(head, identity=identity),
        folder,
        head,
        name="tiny",
        licence="tests only",
        made_by="-",
        score="-",
    )
    return folder


def write_expression_pack(folder: Path, head: HeadModel) -> Path:
    """The pack of `write_identity_pack`, whose head this is, with an expression network."""
    write_identity_pack(folder)
    network = write_expression_network(folder / "expression", head)
    save_pack(dataclasses.replace(load_pack(folder), expression=network), folder)
    return folder
