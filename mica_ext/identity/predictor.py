"""IdentityPredictor: ArcFace crops to the identity coefficients of a head."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.fingerprint import TOLERANCE, weighted_sum
from flame_assets.model.head import HeadModel
from mica_ext.errors import UserError
from mica_ext.identity.network import SHAPE_COUNT, Identity
from mica_ext.identity.weights import load_identity_network, read_identity_config

FLAME_2020 = "2020"
"""Version of the head that MICA's coefficients belong to."""


class IdentityPredictor:
    """An identity network for one head; build once, call with any batch."""

    def __init__(self, folder: Path, head: HeadModel, device: torch.device) -> None:
        """Load the weights of `folder` for `head`.

        Raises:
            UserError: the weights cannot be used, or belong to another head.
        """
        self.about = read_identity_config(folder)
        about = self.about
        require_own_head(about.name, about.template, about.shape_basis, head)
        self.device = device
        self.network = load_identity_network(folder).to(device)

    @torch.no_grad()
    def __call__(self, crops: Float[Tensor, "B 3 112 112"]) -> Identity:
        """Identities in RGB crops in [-1, 1], on the CPU.

        Each crop passes by itself: a face's result does not depend on the others in the batch.
        """
        rows = [self.network(crop[None].to(self.device)) for crop in crops]
        return Identity(*(torch.cat(parts).cpu() for parts in zip(*rows, strict=True)))

    @torch.no_grad()
    def from_embedding(self, embedding: Float[Tensor, "1 512"]) -> Identity:
        """The identity of an embedding of any length."""
        identity = self.network.from_features(embedding.to(self.device))
        return Identity(*(part.cpu() for part in identity))


def require_own_head(
    name: str, template: float | None, shape_basis: float | None, head: HeadModel
) -> None:
    """Refuse a head that the identity coefficients do not belong to.

    Args:
        name: of the identity weights.
        template: `weighted_sum` of the template that the weights were trained with.
        shape_basis: the same of the identity modes. Where a checkpoint holds neither, the head is
            told by its version.
        head: to check.

    Raises:
        UserError: it is another head.
    """
    same = head.shape_count == SHAPE_COUNT
    if same and template is not None and shape_basis is not None:
        sums = weighted_sum(head.template), weighted_sum(head.shape_basis)
        pairs = zip(sums, (template, shape_basis), strict=True)
        same = all(abs(found - wanted) <= TOLERANCE for found, wanted in pairs)
    elif same:
        same = head.version == FLAME_2020
    if not same:
        raise UserError(
            f"the identity network {name} gives coefficients of FLAME 2020's generic head, "
            f"got the head {head.name} {head.version}: give --head flame2020 (`flame-assets "
            "download flame2020`) or --identity fit"
        )
