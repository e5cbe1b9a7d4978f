"""Settings of the vision transformer: plain frozen data, no torch."""

import dataclasses
from typing import Literal

from pacofr.errors import UserError
from pacofr.utils.config_checks import at_least, at_most, divisible_by_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Size and variant of a vision transformer."""

    image_size: int = 224
    """Side of the square input [px]."""
    patch_size: int = 16
    """Side of a patch [px]."""
    width: int = 768
    """Features per token."""
    depth: int = 12
    """Number of blocks."""
    heads: int = 12
    """Attention heads per block."""
    mlp_ratio: float = 4.0
    """Hidden width of a block's MLP over the token width."""
    layer_norm_eps: float = 1e-6
    """Epsilon of every layer norm (CLIP and FaRL: 1e-5)."""
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    """Exact GELU, or x * sigmoid(1.702 x) as CLIP and FaRL have it."""
    positions: Literal["sincos", "learned"] = "sincos"
    """Fixed sine-cosine position table (MAE) or a learned one."""
    clip_layout: bool = False
    """CLIP's stem: no bias in the patch projection and a layer norm before the first block."""

    def __post_init__(self) -> None:
        at_least(1, self, "image_size", "patch_size", "width", "depth", "heads")
        at_most(4096, self, "image_size")
        at_most(16384, self, "width")
        at_most(256, self, "depth")
        at_most(64, self, "mlp_ratio")
        if self.image_size % self.patch_size:
            raise UserError(
                f"image size {self.image_size} is no multiple of the patch size {self.patch_size}"
            )
        if self.patches > 65536 or int(self.width * self.mlp_ratio) < 1:
            raise UserError(
                f"expected 65536 patches at most and an MLP, got {self.patches} patches and an MLP"
                f" ratio of {self.mlp_ratio}"
            )
        if not 0.0 <= self.layer_norm_eps < 1.0:
            raise UserError(f"layer norm eps must lie between 0 and 1, not {self.layer_norm_eps}")
        divisible_by_heads(self.width, self.heads)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches of an image, K."""
        return self.grid**2

    @property
    def patch_values(self) -> int:
        """Numbers in a patch, 3 p^2."""
        return 3 * self.patch_size**2
