"""Heat maps: photo, aligned prediction, and the scan coloured by its distances."""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from eval_now.data.dataset import ImageEntry, NowDataset
from eval_now.errors import UserError
from eval_now.geometry.crop import crop_mask
from eval_now.geometry.similarity import Similarity
from eval_now.io.budgets import MAX_PHOTO_BYTES, MAX_PHOTO_PIXELS, MAX_PHOTO_SCANS
from eval_now.io.files import read_bytes, write_bytes_atomic
from eval_now.io.meshes import load_mesh
from eval_now.io.terminal import progress
from eval_now.predictions.files import PredictionFiles
from eval_now.report.scan_rendering import face_view, render
from eval_now.scoring.score import ScoredImage

PANEL_PX = 420
COLOUR_MAX_MM = 4.0
COLOUR_MAP = "YlOrRd"
GREY = (0.78, 0.78, 0.80)


def draw_heatmaps(
    out: Path,
    dataset: NowDataset,
    predictions: dict[ImageEntry, PredictionFiles],
    scored: list[ScoredImage],
    count: int,
) -> None:
    """Write out/heatmaps/PROTOCOL/{worst,median,best}_K_IMAGE.png of every protocol."""
    protocols = dict.fromkeys(image.score.protocol for image in scored)
    chosen = [
        pair
        for protocol in protocols
        for pair in choose_images([i for i in scored if i.score.protocol == protocol], count)
    ]
    entries = {image.name: image for image in predictions}
    with progress("drawing", len(chosen)) as advance:
        for title, image in chosen:
            entry = entries[image.score.image]
            stem = f"{title.replace(' ', '_')}_{entry.subject}_{entry.challenge}_{entry.stem}"
            path = out / "heatmaps" / image.score.protocol / f"{stem}.png"
            write_bytes_atomic(path, heatmap_png(dataset, entry, predictions[entry], image, title))
            advance(1)


def choose_images(scored: list[ScoredImage], count: int) -> list[tuple[str, ScoredImage]]:
    """The `count` worst, middle and best images by median, each image once, with a title each."""
    ranked = sorted(scored, key=lambda image: -image.score.median)
    count = min(count, len(ranked))
    middle = (len(ranked) - count) // 2
    groups = {
        "worst": ranked[:count],
        "median": ranked[middle : middle + count],
        "best": ranked[::-1][:count],
    }
    titles: dict[str, tuple[str, ScoredImage]] = {}
    for name in ("worst", "best", "median"):
        for rank, image in enumerate(groups[name], start=1):
            titles.setdefault(image.score.image, (f"{name} {rank}", image))
    return list(titles.values())


def heatmap_png(
    dataset: NowDataset,
    entry: ImageEntry,
    files: PredictionFiles,
    scored: ScoredImage,
    title: str,
) -> bytes:
    """PNG of the photo (if readable), the prediction, and the scan from front, right and left."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    landmarks = dataset.landmarks(entry.subject)
    scan = load_mesh(dataset.scan_file(entry.subject))
    inside = crop_mask(scan.vertices, landmarks)
    triangles = scan.triangles[inside[scan.triangles].all(axis=1)]
    error = np.zeros(len(scan.vertices))
    error[inside] = scored.distances
    colours = colormaps[COLOUR_MAP](np.clip(error / COLOUR_MAX_MM, 0, 1))[:, :3]
    score = scored.score
    alignment = Similarity(score.scale, np.array(score.rotation), np.array(score.shift))
    mesh = load_mesh(files.mesh)
    aligned = alignment.apply(mesh.vertices)
    grey = np.tile(GREY, (len(mesh.vertices), 1))
    front = face_view(landmarks, 0.0)
    panels: list[tuple[str, UInt8[np.ndarray, "H W 3"]]] = []
    photo = _photo(dataset, entry)
    if photo is not None:
        panels.append(("photo", photo))
    panels.append(("prediction", render(mesh._replace(vertices=aligned), grey, front, PANEL_PX)))
    for name, yaw_degrees in (
        ("scan, its right side", -45.0),
        ("scan", 0.0),
        ("scan, its left side", 45.0),
    ):
        view = face_view(landmarks, yaw_degrees)
        panels.append((name, render(scan._replace(triangles=triangles), colours, view, PANEL_PX)))
    figure = Figure(figsize=(2.9 * len(panels) + 0.7, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels))
    for axis, (name, picture) in zip(axes, panels, strict=True):
        axis.imshow(picture)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    scale = ScalarMappable(Normalize(0, COLOUR_MAX_MM), COLOUR_MAP)
    figure.colorbar(scale, ax=axes, label="error [mm]", extend="max", shrink=0.85, pad=0.01)
    heading = figure.suptitle(
        f"{title}: {entry.name}, {score.protocol}, "
        f"median {score.median:.2f} mm, mean {score.mean:.2f} mm",
        fontsize=10,
    )
    heading.set_parse_math(False)  # names may hold dollar signs
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _photo(dataset: NowDataset, entry: ImageEntry) -> UInt8[np.ndarray, "H W 3"] | None:
    """The photo at panel size; None if it is missing, unreadable or too large."""
    from PIL import Image, ImageOps

    try:
        data = read_bytes(dataset.photo_file(entry), MAX_PHOTO_BYTES)
        if data.count(b"\xff\xda") > MAX_PHOTO_SCANS:
            return None
        with warnings.catch_warnings(action="ignore"):  # of Pillow about sizes and metadata
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
            if image.width * image.height > MAX_PHOTO_PIXELS:
                return None
            small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((PANEL_PX, PANEL_PX))
        return np.asarray(small)
    except (UserError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # optional: a data set of scans only, or a damaged photo
