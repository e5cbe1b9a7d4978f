"""A small identity network and a schematic head with FLAME 2020's 300 identity modes, as a pack."""

import dataclasses
import shutil
from pathlib import Path

import torch
from helpers.mica_toy import landmark_head

from flame_assets.model.fingerprint import weighted_sum
from flame_assets.model.head import HeadModel
from flame_assets.model.head_io import save_head
from mica_ext.identity.network import IdentityNetwork
from mica_ext.identity.weights import save_identity_network
from mica_ext.landmarks.student.weights import SHIPPED
from mica_ext.models.pack import Pack, save_pack

LAYERS = (1, 1, 1, 1)


def identity_head() -> HeadModel:
    """A schematic face that stands for FLAME 2020."""
    return dataclasses.replace(landmark_head(300), name="schematic", version="2020")


def identity_network() -> IdentityNetwork:
    """Random weights, the same every time; in evaluation mode."""
    torch.manual_seed(3)
    return IdentityNetwork(LAYERS).eval()


def write_identity_pack(folder: Path, network: IdentityNetwork | None = None) -> Path:
    """A pack with an identity network, the shipped landmark network and the head."""
    head = identity_head()
    shutil.copytree(SHIPPED, folder / "points")
    save_identity_network(
        network or identity_network(),
        folder / "identity",
        name="tiny",
        licence="tests only",
        made_by="-",
        template=weighted_sum(head.template),
        shape_basis=weighted_sum(head.shape_basis),
    )
    pack = Pack(
        name="with-identity",
        licence="tests only",
        head=str(save_head(head, folder / "head")),
        landmarks=folder / "points",
        identity=folder / "identity",
    )
    save_pack(pack, folder)
    return folder
