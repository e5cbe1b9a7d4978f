"""Labelled photos and the crops drawn from them for the landmark network; no torch here."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mica_ext.errors import UserError
from mica_ext.landmarks.view import VIEW, view_matrix, view_to_crop
from pacofr.errors import UserError as ImageError
from pacofr.faces import landmarks68
from pacofr.faces.align import ffhq_quad, move_points, square_quad
from pacofr.images import load_image

INPUT = VIEW.pixels


class LabelledPhoto(NamedTuple):
    """A photo around one face and the face's 68 points in its pixels."""

    image: UInt8[np.ndarray, "H W 3"]
    points: Float[np.ndarray, "68 2"]


class Crop(NamedTuple):
    """What the network sees (128 px view) and where the points lie in the 224 px face crop."""

    view: UInt8[np.ndarray, "128 128 3"]
    points: Float[np.ndarray, "68 2"]


def read_labelled(folder: Path) -> list[tuple[Path, LabelledPhoto]]:
    """All photos of a folder that have a .pts file beside them, in name order.

    Points count in the pixels of the upright photo, as the loader turns it.
    """
    labels = sorted(folder.glob("*.pts"))
    if not labels:
        raise UserError(f"{folder}: expected photos NAME.jpg beside NAME.pts, found no .pts file")
    found = []
    for label in labels:
        path = label.with_suffix(".jpg")
        try:
            image = load_image(path)
        except ImageError as error:
            raise UserError(f"{error} (it belongs to {label.name})") from error
        points = landmarks68.read_pts(label).astype(np.float32)
        found.append((path, LabelledPhoto(image, points)))
    return found


def draw(
    photos: Sequence[LabelledPhoto],
    index: int,
    rng: np.random.Generator,
    *,
    augment: bool = True,
    bent: float = 0.0,
) -> Crop:
    """One crop of photo `index`: as the detector would place it, and well beyond.

    In a share `bent` mouth and other parts are stretched or squeezed, for shapes that few have.
    """
    image, points = photos[index]
    quad = ffhq_quad(points)
    centre, x = quad.mean(0), (quad[3] - quad[0]) / 2
    flip = False
    if augment:
        side = 2 * float(np.linalg.norm(x))
        wild = rng.random() < 0.3
        centre = centre + rng.normal(0, 0.03 if wild else 0.012, 2) * side
        angle = rng.uniform(-0.45, 0.45) if wild else rng.normal(0, 0.04)
        grow = np.exp(rng.normal(0.015, 0.10 if wild else 0.05))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        x = grow * (turn @ x)
        flip = bool(rng.random() < 0.5)
    matrix = view_matrix(square_quad(centre, x))
    if augment:
        stretch = np.diag(np.exp(rng.normal(0, 0.03, 2)))
        middle = np.full(2, INPUT / 2 - 0.5)
        matrix = stretch @ matrix
        matrix[:, 2] += middle - stretch @ middle
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / shrink)
    view = cv2.warpAffine(
        image, matrix, (INPUT, INPUT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    moved = move_points(matrix, points)
    if bent and rng.random() < bent:
        view, moved = bend(view, moved, rng)
    if flip:
        view = np.ascontiguousarray(view[:, ::-1])
        moved = landmarks68.mirrored(moved, INPUT)
    if augment:
        view = weather(view, photos, rng)
    return Crop(view, view_to_crop(moved))


GRID = np.stack(np.meshgrid(np.arange(INPUT), np.arange(INPUT)), -1).astype(np.float32)
COARSE = cv2.resize(GRID, (INPUT // 4, INPUT // 4), interpolation=cv2.INTER_AREA)
"""Places of every pixel, and of every fourth: pulls are smooth enough to be worked out there."""


def bend(
    view: UInt8[np.ndarray, "128 128 3"],
    points: Float[np.ndarray, "68 2"],
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "128 128 3"], Float[np.ndarray, "68 2"]]:
    """Zoom smoothly into or out of the mouth and two other places, more in one direction.

    The pixel at x comes from x + pull(x), so a point p goes where y + pull(y) = p.
    """
    middles = np.stack([points[landmarks68.OUTER_LIPS].mean(0), *points[rng.integers(0, 68, 2)]])
    pulls = rng.normal(0, [[0.22, 0.22], [0.12, 0.12], [0.12, 0.12]]).clip(-0.4, 0.4)
    reaches = np.array([rng.uniform(14, 22), *rng.uniform(10, 25, 2)])

    def pull(x: np.ndarray) -> np.ndarray:
        off = x[..., None, :] - middles
        near = np.exp(-0.5 * np.square(off).sum(-1) / reaches**2)
        return (near[..., None] * pulls * off).sum(-2)

    pulled = cv2.resize(pull(COARSE).astype(np.float32), (INPUT, INPUT))
    source = GRID + pulled
    bent = cv2.remap(
        view,
        source[..., 0],
        source[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    moved = points
    for _ in range(12):
        moved = points - pull(moved)
    return bent, moved


def weather(
    view: UInt8[np.ndarray, "128 128 3"],
    photos: Sequence[LabelledPhoto],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "128 128 3"]:
    """Light, colour, blur, things in front of the face, noise and compression."""
    if rng.random() < 0.4:
        view = cover(view, photos, rng)
    if rng.random() < 0.25:
        small = int(rng.integers(36, 100))
        view = cv2.resize(view, (small, small), interpolation=cv2.INTER_AREA)
        view = cv2.resize(view, (INPUT, INPUT), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25:
        view = cv2.GaussianBlur(view, (0, 0), float(rng.uniform(0.4, 1.8)))
    ramp = np.arange(256) / 255.0
    ramp = ramp ** np.exp(rng.normal(0, 0.3))
    light = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.06, 3))
    ramp = (ramp[:, None] - 0.5) * np.exp(rng.normal(0, 0.2)) * light + 0.5
    ramp = ramp + rng.normal(0, 0.08)
    view = cv2.LUT(view, np.clip(ramp * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3))
    grey = rng.random() < 0.12
    if grey or rng.random() < 0.5:
        amount = 1.0 if grey else float(rng.uniform(-0.4, 0.7))
        tone = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)[:, :, None].repeat(3, 2)
        view = cv2.addWeighted(view, 1 - amount, tone, amount, 0)
    if rng.random() < 0.3:
        noise = rng.standard_normal(view.shape, np.float32) * rng.uniform(2, 14)
        view = np.clip(view + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = int(rng.integers(20, 80))
        _, packed = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, quality])
        view = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return view


def cover(
    view: UInt8[np.ndarray, "128 128 3"],
    photos: Sequence[LabelledPhoto],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "128 128 3"]:
    """Hide part of the view behind a plain shape or a piece of another photo."""
    height, width = (int(v) for v in rng.integers(12, 56, 2))
    top, left = int(rng.integers(0, INPUT - height)), int(rng.integers(0, INPUT - width))
    patch = np.empty((height, width, 3), np.uint8)
    patch[:] = rng.integers(0, 256, 3)
    if rng.random() < 0.5:
        other = photos[int(rng.integers(len(photos)))].image
        if other.shape[0] > height and other.shape[1] > width:
            y = int(rng.integers(0, other.shape[0] - height))
            x = int(rng.integers(0, other.shape[1] - width))
            patch = other[y : y + height, x : x + width]
    view = view.copy()
    target = view[top : top + height, left : left + width]
    if rng.random() < 0.5:
        target[:] = patch
    else:
        shape = np.zeros((height, width), np.uint8)
        cv2.ellipse(shape, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 1, -1)
        target[shape > 0] = patch[shape > 0]
    return view
