"""The expression branch: tokens of several encoder levels to the parameters of a face.

Each level is projected to one width and told apart by a learned embedding; all levels' tokens
together are the keys of a small transformer decoder (Carion et al. 2020) with one learned query per
group of parameters, as Faceptor (Qin et al. 2024) reads FaRL's levels. Queries begin with a summary
of all tokens by their places, for faces are aligned: attention alone takes many more samples to
find out where to look. The output layers begin at zero: an untrained branch gives the neutral face,
seen from the front.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mica_ext.errors import UserError
from mica_ext.expression.config import BranchConfig

GROUPS = ("expression", "jaw", "eyes", "pose", "camera")
"""Parameter groups in the order of their queries."""
INIT_STD = 0.02


class BranchOutput(NamedTuple):
    """What the branch reads in a batch of crops; all zero in the beginning."""

    expression: Float[Tensor, "B E"]
    """Coefficients of the head's expressions, not yet cut to their bounds."""
    jaw_pose: Float[Tensor, "B 3"]
    """Axis-angle [rad]."""
    left_eye_pose: Float[Tensor, "B 3"]
    right_eye_pose: Float[Tensor, "B 3"]
    crop_pose: Float[Tensor, "B 3"]
    """Rotation of the head in the crop's frame, axis-angle [rad]; zero faces the camera."""
    crop_camera: Float[Tensor, "B 3"]
    """Log of the scale over `crop_camera.SCALE`, offset of the anchor in half crops (x, y)."""
    shape: Float[Tensor, "B S"]
    """Identity coefficients; S is 0 for branches that do not read them, and for labels."""


class CrossAttention(nn.Module):
    """Multi-head attention of queries to keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, queries: Float[Tensor, "B Q D"], keys: Float[Tensor, "B K D"]
    ) -> Float[Tensor, "B Q D"]:
        """softmax(Q K^T / sqrt d) V."""
        query = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.kv(keys).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Pre-norm: attention among the queries, to the keys, and an MLP."""

    def __init__(self, config: BranchConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.among = CrossAttention(width, config.heads)
        self.across = CrossAttention(width, config.heads)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self, queries: Float[Tensor, "B Q D"], keys: Float[Tensor, "B K D"]
    ) -> Float[Tensor, "B Q D"]:
        """The queries after this layer."""
        normed = self.norm1(queries)
        queries = queries + self.among(normed, normed)
        queries = queries + self.across(self.norm2(queries), keys)
        return queries + self.mlp(self.norm3(queries))


class ExpressionBranch(nn.Module):
    """Tokens of an encoder's levels to `BranchOutput`."""

    def __init__(
        self,
        config: BranchConfig,
        encoder_width: int,
        expression_count: int,
        *,
        tokens: int,
        levels: int | None = None,
        shape_count: int = 0,
    ) -> None:
        """Set up for an encoder of this width and a head with so many expressions.

        Args:
            config: sizes.
            encoder_width: features of the encoder's tokens.
            expression_count: E of the head.
            tokens: of a level, class token included.
            levels: those that the encoder gives: fewer than `config.layers`, where scaling to few
                blocks makes some of them the same.
            shape_count: S of the head, where identity is read.
        """
        super().__init__()
        self.config, self.encoder_width = config, encoder_width
        levels = len(config.layers) if levels is None else levels
        self.norms = nn.ModuleList(nn.LayerNorm(encoder_width) for _ in range(levels))
        self.projections = nn.ModuleList(
            nn.Linear(encoder_width, config.width) for _ in range(levels)
        )
        self.summary = nn.ModuleList(nn.Linear(config.width, config.summary) for _ in range(levels))
        self.from_summary = nn.Linear(levels * tokens * config.summary, config.width)
        self.level_embedding = nn.Parameter(torch.empty(levels, config.width))
        self.queries = nn.Parameter(torch.empty(len(GROUPS), config.width))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        sizes = (expression_count, 3, 6, 3, 3)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config.width, size) for name, size in zip(GROUPS, sizes, strict=True)}
        )
        if config.identity:  # from all queries together: each one's feature shows the person
            self.identity = nn.Linear(len(GROUPS) * config.width, shape_count)
            nn.init.zeros_(self.identity.weight)
            nn.init.zeros_(self.identity.bias)
        nn.init.normal_(self.level_embedding, std=INIT_STD)
        nn.init.normal_(self.queries, std=INIT_STD)
        for head in self.heads.values():
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def keys(self, levels: Sequence[Float[Tensor, "B T D"]]) -> list[Float[Tensor, "B T width"]]:
        """The levels' tokens, projected and told apart.

        Raises:
            UserError: another number of levels, or tokens of another width.
        """
        if len(levels) != len(self.projections) or levels[0].shape[-1] != self.encoder_width:
            raise UserError(
                f"expected {len(self.projections)} levels of width {self.encoder_width}, got "
                f"{len(levels)} of width {levels[0].shape[-1]}: the branch was trained on another "
                "encoder"
            )
        return [
            projection(norm(tokens)) + embedding
            for tokens, norm, projection, embedding in zip(
                levels, self.norms, self.projections, self.level_embedding, strict=True
            )
        ]

    def forward(self, levels: Sequence[Float[Tensor, "B T D"]]) -> BranchOutput:
        """Read the parameters of a batch of crops from `FaceEncoder`'s raw tokens."""
        by_level = self.keys(levels)
        pairs = zip(self.summary, by_level, strict=True)
        seen = torch.cat([shorten(tokens).flatten(1) for shorten, tokens in pairs], 1)
        queries = self.queries + self.from_summary(seen)[:, None]
        keys = torch.cat(by_level, 1)
        for layer in self.decoder:
            queries = layer(queries, keys)
        queries = self.norm(queries)
        read = {name: self.heads[name](queries[:, i]) for i, name in enumerate(GROUPS)}
        left, right = read["eyes"].chunk(2, -1)
        shape = queries.new_zeros(len(queries), 0)
        if self.config.identity:
            shape = self.identity(queries.flatten(1))
        return BranchOutput(
            read["expression"], read["jaw"], left, right, read["pose"], read["camera"], shape
        )
