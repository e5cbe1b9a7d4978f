"""Per-channel image statistics that encoders are trained with; normalisation by ImageNet's."""

import torch
from jaxtyping import Float
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def normalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """[0, 1] to ImageNet-normalised."""
    return (images - _channels(images, IMAGENET_MEAN)) / _channels(images, IMAGENET_STD)


def denormalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """ImageNet-normalised to [0, 1], not clamped."""
    return images * _channels(images, IMAGENET_STD) + _channels(images, IMAGENET_MEAN)


def _channels(like: Tensor, values: tuple[float, ...]) -> Float[Tensor, "3 1 1"]:
    """Constants on the device of `like`; filled in there, for a copy would wait for a GPU."""
    return torch.cat([like.new_full((1, 1, 1), value) for value in values])
