"""Patches, the pixel-space codebook, and the restructured image (eq. 1).

Patches are in row-major order; the values of a patch are pixel-major with the channel last (as in
MAE): value (y * p + x) * 3 + c. All pixels are ImageNet-normalised.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pacofr.models.config import VitConfig
from pacofr.pretraining.config import CodebookConfig
from pacofr.pretraining.method.patch_clusters import cluster_patches


def patchify(images: Float[Tensor, "B 3 H W"], patch: int) -> Float[Tensor, "B K P"]:
    """Cut square images into patches of `patch` px."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    cut = images.reshape(batch, channels, rows, patch, columns, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch * patch * channels)


def unpatchify(patches: Float[Tensor, "B K P"], patch: int) -> Float[Tensor, "B 3 H W"]:
    """Inverse of `patchify`: square images."""
    batch, count, _ = patches.shape
    grid = round(count**0.5)
    cut = patches.reshape(batch, grid, grid, patch, patch, 3)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, grid * patch, grid * patch)


class Codebook(nn.Module):
    """n learnable tokens per position, each a patch of pixels: [K, n, 3 p^2], or [1, n, 3 p^2].

    The tokens are created as noise around zero (ImageNet's mean colour); `initialize_from` sets
    them to the mean patch, to patches of training images or to cluster means of those.
    """

    def __init__(self, config: CodebookConfig, encoder: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = encoder.patches
        positions = 1 if config.shared else encoder.patches
        shape = (positions, config.candidates, encoder.patch_values)
        self.tokens = nn.Parameter(torch.empty(shape).normal_(std=config.init_std))

    def forward(self) -> Float[Tensor, "K n P"]:
        """All tokens, the shared ones repeated at every position."""
        return self.tokens.expand(self.patches, -1, -1)

    @torch.no_grad()
    def initialize_from(
        self, images: Float[Tensor, "B 3 H W"], patch: int, generator: torch.Generator
    ) -> None:
        """Set the tokens from normalised training images, B >= n, as `config.init` says.

        Args:
            images: ImageNet-normalised.
            patch: side of a patch [px].
            generator: of the noise that separates the candidates, and of the images chosen.

        Raises:
            UserError: k-means of fewer images than candidates.
        """
        patches = patchify(images, patch)
        positions, candidates, values = self.tokens.shape
        if self.config.init == "kmeans":
            if positions == 1:
                patches = patches.reshape(-1, 1, values)
            self.tokens.copy_(cluster_patches(patches.float(), candidates, generator))
            return
        noise = torch.empty(self.tokens.shape).normal_(
            std=self.config.init_std, generator=generator
        )
        if self.config.init == "mean_patch":
            mean = patches.mean(dim=(0, 1)) if positions == 1 else patches.mean(dim=0)
            start = mean.reshape(positions, 1, values).expand(-1, candidates, -1)
        else:
            image = torch.randperm(len(patches), generator=generator)[:candidates]
            start = patches[image].transpose(0, 1)  # [K, n, P]
            if positions == 1:
                start = start[torch.randint(self.patches, (1,), generator=generator)]
        self.tokens.copy_(start.to(self.tokens) + noise.to(self.tokens))


def restructure(
    patches: Float[Tensor, "B K P"],
    tokens: Float[Tensor, "K n P"],
    chosen: Int64[Tensor, "B K"],
    mask: Bool[Tensor, "B K"],
) -> Float[Tensor, "B K P"]:
    """Eq. 1: the image whose masked patches are replaced by their chosen tokens.

    The gather is hard: gradients reach the chosen tokens at masked positions and nothing else.
    """
    positions = torch.arange(tokens.shape[0], device=tokens.device)
    return torch.where(mask[..., None], tokens[positions, chosen], patches)
