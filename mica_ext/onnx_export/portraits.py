"""The package's portrait as input of the graphs that take photos: noise would show them no face."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mica_ext.onnx_export.photo_graphs import PHOTO_PX
from pacofr.faces.detect import detect
from pacofr.images.load import load_image

PORTRAIT = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
GREY = 127


def portrait_in_square(number: int) -> tuple[Tensor]:
    """The portrait, from the first number on smaller and smaller."""
    whole = Image.fromarray(load_image(PORTRAIT))
    scale = PHOTO_PX / max(whole.size) / (1 + 0.4 * number)
    small = whole.resize((round(whole.width * scale), round(whole.height * scale)))
    square = Image.new("RGB", (PHOTO_PX, PHOTO_PX), (GREY,) * 3)
    square.paste(small)
    return (torch.from_numpy(np.array(square)),)


def portrait_with_five(number: int) -> tuple[Tensor, Tensor]:
    """The portrait, each number 9 columns narrower, and five points of its face."""
    image = np.ascontiguousarray(load_image(PORTRAIT)[:, : -9 * number or None])
    return torch.from_numpy(image), torch.from_numpy(detect(image)[0].points)
