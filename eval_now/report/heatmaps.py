"""Pictures of single results: the photo, the aligned prediction, and the scan coloured by error."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import Progress

from eval_now.data.dataset import ImageEntry, NowDataset
from eval_now.data.predictions import PredictionFiles
from eval_now.errors import UserError
from eval_now.geometry.align import Similarity, crop_scan
from eval_now.geometry.raster import face_view, render
from eval_now.io.files import write_atomically
from eval_now.io.meshes import load_mesh
from eval_now.scoring.score import ScoredImage

PANEL = 420
TOP_MM = 4.0
COLOUR_MAP = "YlOrRd"
GREY = (0.78, 0.78, 0.80)


def draw_heatmaps(
    out: Path,
    dataset: NowDataset,
    found: dict[ImageEntry, PredictionFiles],
    scored: list[ScoredImage],
    count: int,
    console: Console,
) -> None:
    """Write out/heatmaps/PROTOCOL/{worst,median,best}_K_IMAGE.png of every protocol."""
    chosen = [
        pair
        for protocol in dict.fromkeys(one.score.protocol for one in scored)
        for pair in choose([one for one in scored if one.score.protocol == protocol], count)
    ]
    entries = {image.name: image for image in found}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("drawing", total=len(chosen))
        for title, one in chosen:
            entry = entries[one.score.image]
            stem = f"{title.replace(' ', '_')}_{entry.subject}_{entry.challenge}_{entry.stem}"
            path = out / "heatmaps" / one.score.protocol / f"{stem}.png"
            write_atomically(path, heatmap_png(dataset, entry, found[entry], one, title))
            progress.advance(task)


def choose(scored: list[ScoredImage], count: int) -> list[tuple[str, ScoredImage]]:
    """The worst, the middle and the best images by median, each at most once."""
    ranked = sorted(scored, key=lambda one: -one.score.median)
    count = min(count, len(ranked))
    middle = (len(ranked) - count) // 2
    groups = {
        "worst": ranked[:count],
        "median": ranked[middle : middle + count],
        "best": ranked[::-1][:count],
    }
    seen: set[str] = set()
    chosen = []
    for name in ("worst", "best", "median"):
        for place, one in enumerate(groups[name], start=1):
            if one.score.image not in seen:
                seen.add(one.score.image)
                chosen.append((f"{name} {place}", one))
    return chosen


def heatmap_png(
    dataset: NowDataset,
    entry: ImageEntry,
    files: PredictionFiles,
    one: ScoredImage,
    title: str,
) -> bytes:
    """One picture: photo (if it can be read), prediction, scan from the front and both sides."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    landmarks = dataset.landmarks(entry.subject)
    scan = load_mesh(dataset.scan_file(entry.subject))
    kept = crop_scan(scan.vertices, landmarks)
    triangles = scan.triangles[kept[scan.triangles].all(axis=1)]
    error = np.zeros(len(scan.vertices))
    error[kept] = one.distances
    colours = colormaps[COLOUR_MAP](np.clip(error / TOP_MM, 0, 1))[:, :3]
    score = one.score
    move = Similarity(score.scale, np.array(score.rotation), np.array(score.shift))
    mesh = load_mesh(files.mesh)
    moved = move.apply(mesh.vertices)
    grey = np.tile(GREY, (len(mesh.vertices), 1))
    front = face_view(landmarks, 0.0)
    panels: list[tuple[str, UInt8[np.ndarray, "H W 3"]]] = []
    photo = _photo(dataset, entry)
    if photo is not None:
        panels.append(("photo", photo))
    panels.append(("prediction", render(mesh._replace(vertices=moved), grey, front, PANEL)))
    for name, turn in (
        ("scan, its right side", -45.0),
        ("scan", 0.0),
        ("scan, its left side", 45.0),
    ):
        view = face_view(landmarks, turn)
        panels.append((name, render(scan._replace(triangles=triangles), colours, view, PANEL)))
    figure = Figure(figsize=(2.9 * len(panels) + 0.7, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels))
    for axis, (name, picture) in zip(axes, panels, strict=True):
        axis.imshow(picture)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    scale = ScalarMappable(Normalize(0, TOP_MM), COLOUR_MAP)
    figure.colorbar(scale, ax=axes, label="error [mm]", extend="max", shrink=0.85, pad=0.01)
    heading = figure.suptitle(
        f"{title}: {entry.name}, {score.protocol}, "
        f"median {score.median:.2f} mm, mean {score.mean:.2f} mm",
        fontsize=10,
    )
    heading.set_parse_math(False)  # a dollar sign in a name is no formula
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _photo(dataset: NowDataset, entry: ImageEntry) -> UInt8[np.ndarray, "H W 3"] | None:
    from PIL import Image, ImageOps

    try:
        path = dataset.picture(entry)
        with Image.open(path) as image:
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((PANEL, PANEL))
            return np.asarray(small)
    except (UserError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # a set of scans only, or a damaged photo, which the error map does not need
