"""The figure as a page: all heads turn together; no network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mica_ext.export.surface import Surface
from mica_ext.figure.methods import FigureMesh, FigureRow
from mica_ext.viewer.buffers import BufferTable
from mica_ext.viewer.page import page_bytes
from mica_ext.viewer.pictures import data_url
from mica_ext.viewer.scene import lighting_json, surface_json

FORMAT, VERSION = "mica-ext figure", 1
TITLE = "Comparison of reconstructions"


class Cell(NamedTuple):
    """A head of the page; None: there is none."""

    head: FigureMesh | None
    caption: str = ""


def figure_page(
    titles: Sequence[str], rows: Sequence[FigureRow], cells: Sequence[Sequence[Cell]], note: str
) -> bytes:
    """The HTML file.

    Its data: format, version, titles, note, lighting and buffers as in `viewer.scene`, and rows:
    [{name, photo: data URL, focus: {centre, half} of the camera [m], cells: [{caption, mesh}]}].

    Args:
        titles: of the columns, the photo's first.
        rows: photos with their heads, the first of which gives the row's camera.
        cells: of each row, a column fewer than there are titles.
        note: under the figure.
    """
    table = BufferTable()
    content = {
        "format": FORMAT,
        "version": VERSION,
        "title": TITLE,
        "titles": list(titles),
        "note": note,
        "lighting": lighting_json(),
        "rows": [
            {
                "name": row.name,
                "photo": data_url(row.photo),
                "box": _box(row),
                "cells": [
                    {
                        "caption": cell.caption,
                        "mesh": None if cell.head is None else _mesh(table, cell.head),
                    }
                    for cell in line
                ],
            }
            for row, line in zip(rows, cells, strict=True)
        ],
        "buffers": table.entries,
    }
    return page_bytes(
        content,
        title=TITLE,
        markup="figure.html",
        styles=("page.css", "figure.css"),
        script="figure.js",
    )


def _mesh(table: BufferTable, head: FigureMesh) -> dict[str, object]:
    surface = Surface(
        head.vertices.astype(np.float32), head.triangles.astype(np.int32), head.colours
    )
    return surface_json(table, surface)


def _box(row: FigureRow) -> dict[str, list[float]]:
    """Extent of the row's first head [m]."""
    first = next(head for head in row.heads if head is not None)
    return {"low": first.vertices.min(0).tolist(), "high": first.vertices.max(0).tolist()}
