"""A vision transformer with timm's parameter names, which most published files use.

Layout: class token first, then the patches row by row. MAE, MoCo-v3 and MCF use the plain layout;
CLIP and FaRL a projection without bias, a norm before the first block (`norm_pre`), QuickGELU and
another epsilon (`VitConfig`).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pacofr.models.config import VitConfig


def sincos_positions(width: int, grid: int) -> Float[Tensor, "1 tokens width"]:
    """MAE's fixed positions [1, 1 + grid^2, width]: sin x, cos x, sin y, cos y; class token 0."""
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    steps = torch.arange(grid, dtype=torch.float64)
    angles = steps[:, None] * omega
    wave = torch.cat([angles.sin(), angles.cos()], dim=1)  # [grid, width / 2]
    by_x = wave[None, :, :].expand(grid, grid, -1)
    by_y = wave[:, None, :].expand(grid, grid, -1)
    table = torch.cat([by_x, by_y], dim=2).reshape(grid * grid, width)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), table])[None].float()


def resize_positions(
    table: Float[Tensor, "1 old width"], grid: int
) -> Float[Tensor, "1 new width"]:
    """The position table for another grid: bicubic, no antialias, class token kept (FaRL, MAE)."""
    old = math.isqrt(table.shape[1] - 1)
    if old == grid:
        return table
    patches = table[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


class PatchEmbed(nn.Module):
    """Patches to tokens by one strided convolution."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            3, config.width, config.patch_size, config.patch_size, bias=not config.clip_layout
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K D"]:
        """Tokens row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Attend over all tokens."""
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, T, D / heads]
        mixed = attend(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))


def attend(
    query: Float[Tensor, "B h T d"], key: Float[Tensor, "B h T d"], value: Float[Tensor, "B h T d"]
) -> Float[Tensor, "B h T d"]:
    """softmax(Q K^T / sqrt d) V.

    Computed in separate steps for bf16 training on a CPU, where the fused kernel's backward pass
    takes two to four times as long; everywhere else by the fused kernel.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad:
        with torch.autocast("cpu", enabled=False):
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
            return scores.softmax(dim=-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Mlp(nn.Module):
    """The two-layer MLP of a block."""

    def __init__(self, width: int, hidden: int, *, quick_gelu: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.quick_gelu = quick_gelu

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Applied to each token separately."""
        hidden = self.fc1(tokens)
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick_gelu else F.gelu(hidden)
        return self.fc2(hidden)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, eps: float, *, quick_gelu: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio), quick_gelu=quick_gelu)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Attention and MLP, each added to its input."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """Normalised images to tokens (Dosovitskiy et al. 2021)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        width, eps = config.width, config.layer_norm_eps
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        table = sincos_positions(width, config.grid)
        if config.positions == "learned":
            table = torch.empty_like(table).normal_(std=0.02)
        self.pos_embed = nn.Parameter(table, requires_grad=config.positions == "learned")
        self.norm_pre = nn.LayerNorm(width, eps=eps) if config.clip_layout else nn.Identity()
        quick = config.activation == "quick_gelu"
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, eps, quick_gelu=quick)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        nn.init.normal_(self.cls_token, std=0.02)
        projection = self.patch_embed.proj
        nn.init.xavier_uniform_(projection.weight.view(width, -1))
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)
        self.blocks.apply(init_linear)

    def embed(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T D"]:
        """Tokens before the first block: patches and class token with their positions."""
        patches = self.patch_embed(images)
        cls = self.cls_token.expand(patches.shape[0], -1, -1)
        return self.norm_pre(torch.cat([cls, patches], dim=1) + self.pos_embed)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T D"]:
        """Tokens after all blocks and the final norm."""
        tokens = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def taps(
        self, images: Float[Tensor, "B 3 H W"], layers: tuple[int, ...]
    ) -> list[Float[Tensor, "B T D"]]:
        """Raw outputs (no final norm) of the blocks `layers`, counted from 1, in rising order."""
        tokens = self.embed(images)
        outputs = []
        for number, block in enumerate(self.blocks[: max(layers)], start=1):
            tokens = block(tokens)
            if number in layers:
                outputs.append(tokens)
        return outputs


def init_linear(module: nn.Module) -> None:
    """MAE's initialisation: Xavier-uniform weights and no bias for every linear layer."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def scaled_layers(layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Layers counted for 12 blocks, scaled to `depth`: (2, 4, 8, 12) is (1, 2, 4, 6) for 6."""
    return tuple(max(1, round(layer * depth / 12)) for layer in layers)
