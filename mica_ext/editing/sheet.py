"""A sheet of pictures of one size with their names."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 4
LABEL_SHARE = 0.09
"""Height of a label, as a share of its picture's."""
PAPER, INK = (255, 255, 255), (40, 40, 40)
GAP = 6
"""Between pictures [px]."""


def contact_sheet(
    pictures: Sequence[UInt8[np.ndarray, "H W 3"]], names: Sequence[str], columns: int = COLUMNS
) -> UInt8[np.ndarray, "height width 3"]:
    """The pictures row by row, each with its name below it."""
    height, width = pictures[0].shape[:2]
    label = max(16, round(LABEL_SHARE * height))
    rows = -(-len(pictures) // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + label + GAP) + GAP)
    paper = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(size=round(0.62 * label))
    for index, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        row, column = divmod(index, columns)
        x, y = GAP + column * (width + GAP), GAP + row * (height + label + GAP)
        paper.paste(Image.fromarray(picture), (x, y))
        pen.text((x + width / 2, y + height + label / 2), name, INK, font, anchor="mm")
    return np.asarray(paper)
