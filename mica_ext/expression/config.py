"""Sizes of the expression branch; imports no torch."""

from dataclasses import dataclass

from mica_ext.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BranchConfig:
    """Sizes of the decoder between the encoder's features and the parameters."""

    layers: tuple[int, ...] = (2, 4, 8, 12)
    """Blocks of the encoder that are read, counted from 1 for 12 blocks (PaCo-FR, section 4.2);
    scaled for shallower encoders."""
    width: int = 192
    """Features of queries and keys."""
    heads: int = 4
    """Attention heads."""
    depth: int = 2
    """Decoder layers."""
    mlp_ratio: float = 2.0
    """Hidden width of a decoder layer's MLP over its width."""

    def __post_init__(self) -> None:
        if not self.layers or any(not 1 <= layer <= 12 for layer in self.layers):
            raise UserError(f"expected encoder layers between 1 and 12, got {self.layers}")
        if list(self.layers) != sorted(set(self.layers)):
            raise UserError(f"expected encoder layers in rising order, got {self.layers}")
        if not 1 <= self.depth <= 64 or not 1 <= self.heads <= 64:
            raise UserError("expected 1 to 64 decoder layers and heads")
        if not 1 <= self.width <= 4096 or self.width % self.heads:
            raise UserError(
                f"expected a width up to 4096 that {self.heads} heads divide, got {self.width}"
            )
        if not 0.1 <= self.mlp_ratio <= 16:
            raise UserError(f"expected an MLP ratio between 0.1 and 16, got {self.mlp_ratio}")
