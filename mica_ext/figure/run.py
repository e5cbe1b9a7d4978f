"""`mica-ext figure`: reconstruct, align, measure, draw."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from flame_assets.model.landmarks import NOW_LANDMARKS
from mica_ext.commands.photo_run.outputs import check_writable
from mica_ext.commands.photo_run.photo_list import list_photos
from mica_ext.errors import UserError, error_line, printable
from mica_ext.export.mesh_files import PER_METRE
from mica_ext.figure.config import FigureConfig
from mica_ext.figure.errors_on_truth import ErrorMap, error_map
from mica_ext.figure.methods import FigureMesh, FigureRow, in_frame_of, read_mesh
from mica_ext.figure.page import Cell, figure_page
from mica_ext.figure.sheet import Panel, draw_head, panel_size, row_view, sheet_bytes
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pose import Pose
from mica_ext.reconstruct import Reconstructor
from mica_ext.reconstruction import Reconstruction
from mica_ext.render.clay import clay_colours
from pacofr.images import load_image
from pacofr.utils.progress import track

SUFFIXES = (".pdf", ".png", ".html")
PHOTO_FACES = 1.9
"""Height of the shown part of a photo, in sides of the face's box."""


class Method(NamedTuple):
    """A column."""

    name: str
    pack: str | None
    """Model pack; None: meshes of `folder`."""
    folder: Path | None


def figure(config: FigureConfig) -> None:
    """Write the figure.

    Raises:
        UserError: if a photo, pack or mesh cannot be used, or the file cannot be written.
    """
    if config.out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {config.out}: expected a name ending in {' '.join(SUFFIXES)}")
    check_writable(config.out, overwrite=config.overwrite)
    methods = _methods(config)
    for folder in (config.truth, *(method.folder for method in methods)):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{folder}: expected a folder of meshes, found none")
    photos = [photo.path for photo in list_photos(config.photos, recursive=False).photos]
    packs = [Reconstructor.load(method.pack) for method in methods if method.pack is not None]
    rows = [_row(config, methods, packs, photo) for photo in track(photos, "photos")]
    maps = [
        [
            None if row.truth is None or head is None
            else error_map(row.truth, head, config.max_error)
            for head in row.heads
        ]
        for row in rows
    ]  # fmt: skip
    content = _content(config, [method.name for method in methods], rows, maps)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(config.out, content)
    print(printable(f"photos: {len(rows)}, methods: {len(methods)} -> {config.out}"))


def _methods(config: FigureConfig) -> list[Method]:
    methods = []
    for word in config.packs:
        name, equals, pack = word.partition("=")
        methods.append(Method(name if equals else Path(word).name, pack if equals else word, None))
    for word in config.meshes:
        name, equals, folder = word.partition("=")
        if not equals or not name or not folder:
            raise UserError(f"--meshes {word}: expected NAME=DIR")
        methods.append(Method(name, None, Path(folder)))
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise UserError("--packs, --meshes: two columns have one name; give NAME=PACK")
    return methods


def _row(
    config: FigureConfig, methods: Sequence[Method], packs: Sequence[Reconstructor], path: Path
) -> FigureRow:
    """The heads of one photo."""
    try:
        image = load_image(path)
        results = [pack(image, pose=config.pose) for pack in packs]
    except Exception as error:
        line = error_line(error)
        if line is None:
            raise
        raise UserError(line if str(path) in line else f"{path}: {line}") from error
    reference = figure_mesh(results[0])
    heads: list[FigureMesh | None] = [
        in_frame_of(figure_mesh(result), reference, keep_scale=True) for result in results
    ]
    heads[0] = reference
    for method in methods[len(packs) :]:
        assert method.folder is not None
        mesh = read_mesh(method.folder, path.stem, reference, 1.0)
        heads.append(mesh and in_frame_of(mesh, reference, keep_scale=False))
    truth = None
    if config.truth is not None:
        scale = 1.0 / PER_METRE[config.truth_unit]
        truth = read_mesh(config.truth, path.stem, reference, scale)
    return FigureRow(path.stem, _photo_panel(image, results[0].face.box), tuple(heads), truth)


def figure_mesh(result: Reconstruction) -> FigureMesh:
    """A reconstruction in its head's own frame."""
    vertices = result.mesh.vertices[0].double().numpy()
    with torch.no_grad():
        points = result.decoder.frontal_landmarks(result.mesh.vertices)[0, NOW_LANDMARKS]
    colours = clay_colours(result.head, vertices)
    return FigureMesh(vertices, result.head.triangles, points.double().numpy(), colours)


def _photo_panel(
    image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, "4"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo around the face in a panel's shape; its border is repeated where it ends."""
    height, width = panel_size()
    x0, y0, x1, y1 = (float(value) for value in box)
    scale = height / (PHOTO_FACES * max(x1 - x0, y1 - y0))
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    shift = (width / 2 - scale * centre_x, height / 2 - scale * centre_y)
    to_panel = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.warpAffine(
        image, to_panel, (width, height), flags=smooth, borderMode=cv2.BORDER_REPLICATE
    )


def _content(
    config: FigureConfig,
    names: Sequence[str],
    rows: Sequence[FigureRow],
    maps: Sequence[Sequence[ErrorMap | None]],
) -> bytes:
    measured = any(one is not None for line in maps for one in line)
    titles = ["Input", *names, *(f"{name}: error" for name in names if measured)]
    note = _note(config.pose, measured, any(row.truth is None for row in rows))
    if config.out.suffix.lower() == ".html":
        cells = [
            [Cell(head) for head in row.heads] + [_error_cell(one) for one in line if measured]
            for row, line in zip(rows, maps, strict=True)
        ]
        return figure_page(titles, rows, cells, note)
    panels = []
    for row, line in zip(rows, maps, strict=True):
        reference = row.heads[0]
        assert reference is not None
        view = row_view(reference, config.yaw)
        drawn = [Panel(None if head is None else draw_head(head, view)) for head in row.heads]
        heat = [
            Panel(None) if one is None else Panel(draw_head(one.surface, view), _figures(one))
            for one in line
            if measured
        ]
        panels.append([Panel(row.photo), *drawn, *heat])
    suffix, bar = config.out.suffix.lower(), config.max_error if measured else None
    return sheet_bytes(titles, panels, note, suffix, bar)


def _error_cell(one: ErrorMap | None) -> Cell:
    return Cell(None) if one is None else Cell(one.surface, _figures(one))


def _figures(one: ErrorMap) -> str:
    return f"median {one.median_mm:.2f}, mean {one.mean_mm:.2f} mm"


def _note(pose: Pose, measured: bool, some_without: bool) -> str:
    what = "with the photo's expression" if pose == "expressive" else "without expression"
    note = (
        f"Heads {what}, in one camera and light; packs keep their own scale, further meshes are "
        "scaled to the first pack's by their landmarks."
    )
    if measured:
        note += (
            " Errors: distance of the true surface from each head after NoW's alignment with the "
            "scale fitted; grey is not measured."
        )
        if some_without:
            note += " Photos without a true surface have no errors."
    return note
