"""The figure for print: panels of one camera and light, titles, captions, the errors' colours."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from mica_ext.figure.errors_on_truth import COLOUR_MAP
from mica_ext.figure.methods import FigureMesh
from mica_ext.render.clay import SOFT_LIGHT
from mica_ext.render.shading import render
from mica_ext.render.views import View, portrait_view

DPI = 300
PANEL_INCHES = (1.42, 1.62)
"""Width and height of a panel."""
GAP, TITLE_INCHES, CAPTION_INCHES, BAR_INCHES = 0.05, 0.26, 0.15, 0.62
ZOOM = 1.22
"""Against a picture of the whole head: the face is what is compared."""
FONT_PT = 8


class Panel(NamedTuple):
    """One cell of the figure."""

    picture: UInt8[np.ndarray, "height width 3"] | None
    """None: the method has no head of this photo."""
    caption: str = ""


def panel_size() -> tuple[int, int]:
    """Height and width of a panel [px]."""
    return round(PANEL_INCHES[1] * DPI), round(PANEL_INCHES[0] * DPI)


def row_view(reference: FigureMesh, yaw_degrees: float) -> View:
    """The camera of a row: the first head's face in the middle, turned by the yaw."""
    height, width = panel_size()
    view = portrait_view(reference.vertices, np.radians(yaw_degrees), height, width)
    face = view.rotation @ reference.landmarks.mean(0)
    shift = np.array([-0.5 * (face[0] - view.translation[0]), -face[1], view.translation[2]])
    return view._replace(focal_px=view.focal_px * ZOOM, translation=shift)


def draw_head(head: FigureMesh, view: View) -> UInt8[np.ndarray, "height width 3"]:
    """A head on white."""
    white = np.full((*panel_size(), 3), 255, np.uint8)
    drawn = render(
        head.vertices,
        head.triangles.astype(np.int32),
        view,
        white,
        colours=head.colours,
        lighting=SOFT_LIGHT,
        samples=3,
    )
    return drawn.picture


def sheet_bytes(
    titles: Sequence[str],
    rows: Sequence[Sequence[Panel]],
    note: str,
    suffix: str,
    max_error_mm: float | None,
) -> bytes:
    """The figure as PDF or PNG.

    Args:
        titles: of the columns.
        rows: panels, as many a row as there are titles.
        note: under the figure.
        suffix: .pdf or .png.
        max_error_mm: right end of the colour bar; None: no bar.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = PANEL_INCHES
    caption = CAPTION_INCHES if any(panel.caption for row in rows for panel in row) else 0.0
    bar = BAR_INCHES if max_error_mm is not None else 0.0
    note_lines = _wrapped(note, int((len(titles) * (width + GAP) + bar) * 20))
    foot = 0.08 + 0.13 * len(note_lines)
    total_width = len(titles) * (width + GAP) + GAP + bar
    total_height = TITLE_INCHES + len(rows) * (height + GAP + caption) + foot
    with mpl.rc_context({"pdf.fonttype": 42, "font.size": FONT_PT, "font.family": "sans-serif"}):
        figure = Figure(figsize=(total_width, total_height), dpi=DPI)
        FigureCanvasAgg(figure)

        def text(x: float, y: float, words: str, **style: Any) -> None:
            """Words at inches from the top left."""
            label = figure.text(x / total_width, 1 - y / total_height, words, **style)
            label.set_parse_math(False)  # names may hold dollar signs

        for column, title in enumerate(titles):
            middle = GAP + column * (width + GAP) + width / 2
            text(middle, TITLE_INCHES - 0.08, _shortened(title), ha="center", va="bottom")
        for number, row in enumerate(rows):
            top = TITLE_INCHES + number * (height + GAP + caption)
            for column, panel in enumerate(row):
                left = GAP + column * (width + GAP)
                box = (
                    left / total_width,
                    1 - (top + height) / total_height,
                    width / total_width,
                    height / total_height,
                )
                axis = figure.add_axes(box)
                axis.axis("off")
                if panel.picture is None:
                    text(left + width / 2, top + height / 2, "no mesh", ha="center", color="0.5")
                else:
                    axis.imshow(panel.picture, interpolation="none", aspect="auto")
                text(
                    left + width / 2, top + height + 0.02, panel.caption,
                    ha="center", va="top", fontsize=FONT_PT - 1.5, color="0.25",
                )  # fmt: skip
        if max_error_mm is not None:
            _add_bar(figure, total_width, total_height, foot, max_error_mm)
        for number, line in enumerate(note_lines):
            y = total_height - foot + 0.12 + 0.13 * number
            text(GAP, y, line, fontsize=FONT_PT - 2, color="0.35")
        buffer = io.BytesIO()
        metadata = {"CreationDate": None} if suffix == ".pdf" else {}
        figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def _add_bar(
    figure: Any, total_width: float, total_height: float, foot: float, max_error_mm: float
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    height = min(2.2, total_height - foot - TITLE_INCHES - 0.3)
    left, bottom = (total_width - BAR_INCHES + 0.08) / total_width, total_height - TITLE_INCHES
    box = (left, (bottom - height - 0.05) / total_height, 0.1 / total_width, height / total_height)
    axis = figure.add_axes(box)
    scale = ScalarMappable(Normalize(0, max_error_mm), COLOUR_MAP)
    colour_bar = figure.colorbar(scale, cax=axis, extend="max")
    colour_bar.set_label("error [mm]", fontsize=FONT_PT - 1)
    colour_bar.ax.tick_params(labelsize=FONT_PT - 2, width=0.5, length=2)
    colour_bar.outline.set_linewidth(0.4)


def _shortened(title: str) -> str:
    return title if len(title) <= 24 else title[:23] + "…"


def _wrapped(note: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(note, max(width, 20))
