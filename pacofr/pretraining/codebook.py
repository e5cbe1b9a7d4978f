"""Patches, the pixel-space codebook, and the restructured image (eq. 1).

Patches lie row by row; the values of a patch are pixel-major with the channel last (MAE's order):
value (y * p + x) * 3 + c. Everything here is in ImageNet-normalised units.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pacofr.pretraining.config import CodebookConfig, VitConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def patchify(images: Float[Tensor, "B 3 H W"], patch: int) -> Float[Tensor, "B K P"]:
    """Cut square images into patches of `patch` px."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    cut = images.reshape(batch, channels, rows, patch, columns, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch * patch * channels)


def unpatchify(patches: Float[Tensor, "B K P"], patch: int) -> Float[Tensor, "B 3 H W"]:
    """Put patches back together into a square image."""
    batch, count, _ = patches.shape
    grid = round(count**0.5)
    cut = patches.reshape(batch, grid, grid, patch, patch, 3)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, grid * patch, grid * patch)


def normalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """[0, 1] to ImageNet-normalised."""
    return (images - _channels(images, IMAGENET_MEAN)) / _channels(images, IMAGENET_STD)


def denormalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """ImageNet-normalised to [0, 1], not clamped."""
    return images * _channels(images, IMAGENET_STD) + _channels(images, IMAGENET_MEAN)


def _channels(like: Tensor, values: tuple[float, ...]) -> Float[Tensor, "3 1 1"]:
    """Constants on the device of `like`; filled in there, for a copy would wait for a GPU."""
    return torch.cat([like.new_full((1, 1, 1), value) for value in values])


class Codebook(nn.Module):
    """n learnable tokens per position, each a patch of pixels: [K, n, 3 p^2], or [1, n, 3 p^2].

    Training starts from noise around zero, that is the grey of ImageNet's mean; `start_from`
    moves it to the mean patch or to patches of the training faces.
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
    def start_from(
        self, images: Float[Tensor, "B 3 H W"], patch: int, generator: torch.Generator
    ) -> None:
        """Initialise from some normalised training images, B >= n, as `config.init` says."""
        patches = patchify(images, patch)
        positions, candidates, values = self.tokens.shape
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
