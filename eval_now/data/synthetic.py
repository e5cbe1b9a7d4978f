"""Artificial scans with known truth, written in the benchmark's own layout.

A clean head [mm] becomes what a scanner delivers: dense, cut to the face, noisy, with holes,
spikes, loose points, a floating patch and a part the scanner did not see, in a frame of its own.
"""

import io
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from eval_now.data.boxes import Box, save_box
from eval_now.data.layout import BOXES, LISTS, PICTURES, SCAN_LANDMARKS, SCANS, Split
from eval_now.geometry.align import crop_ball, rotation_and_turns
from eval_now.geometry.bvh import build_tree, closest_distances
from eval_now.io.files import write_atomically
from eval_now.io.landmarks import save_npy
from eval_now.io.meshes import Mesh, save_obj, save_ply, vertex_normals

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
PICTURE_ROOT = Path("NoW_Dataset/final_release_version")
TRUTH = "truth"
SCAN_NAME = "natural_head_rotation.000001"


class Damage(NamedTuple):
    """How a scan is spoilt; lengths in mm."""

    spacing: float = 1.5
    """Largest mean edge of the scan's triangles."""
    noise: float = 0.15
    waves: float = 0.1
    holes: int = 6
    spikes: int = 30
    loose_points: int = 20
    patch: bool = True
    unseen: Literal["nothing", "a side", "the chin"] = "nothing"
    turn_degrees: float = 15.0
    offset: float = 100.0


class SyntheticScan(NamedTuple):
    """A scan [mm] with its landmarks; truth (head frame) -> scan is x -> rotation x + shift."""

    mesh: Mesh
    landmarks: Float[np.ndarray, "7 3"]
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]


def make_scan(
    head: Mesh, landmarks: Float[np.ndarray, "7 3"], seed: int, damage: Damage
) -> SyntheticScan:
    """Spoil a clean head (mm, y up, z out of the face) into a scan of its face."""
    random = np.random.default_rng(seed)
    measured = crop_ball(landmarks)
    centre, radius = measured.centre, 1.25 * measured.radius  # real scans reach further, too
    eyes = float(np.linalg.norm(landmarks[0] - landmarks[3]))
    mesh = _cut(head, np.linalg.norm(head.vertices - centre, axis=1) < 1.3 * radius)
    mesh = _outer_side(mesh)
    while _mean_edge(mesh) > damage.spacing:
        mesh = subdivide(mesh)
    keep = np.linalg.norm(mesh.vertices - centre, axis=1) < radius
    if damage.unseen == "a side":
        keep &= mesh.vertices[:, 0] - centre[0] < 0.55 * eyes
    elif damage.unseen == "the chin":
        keep &= mesh.vertices[:, 1] > landmarks[5:, 1].mean() - 0.25 * eyes
    for _ in range(damage.holes):
        place = mesh.vertices[random.integers(len(mesh.vertices))]
        keep &= np.linalg.norm(mesh.vertices - place, axis=1) > random.uniform(1.5, 5.0)
    mesh = _cut(mesh, keep)
    vertices, normals = mesh.vertices.copy(), vertex_normals(mesh)
    waves = _waves(vertices, random) * damage.waves
    vertices += normals * (random.normal(0, damage.noise, len(vertices)) + waves)[:, None]
    for index in random.integers(len(vertices), size=damage.spikes):
        vertices[index] += normals[index] * random.choice([-1, 1]) * random.uniform(2, 12)
    parts = [Mesh(vertices, mesh.triangles)]
    if damage.patch:
        parts.append(_patch(centre + random.normal(0, 15, 3) + [0, 0, 0.5 * eyes], random))
    near = random.integers(len(vertices), size=damage.loose_points)
    away = random.uniform(2, 15, (damage.loose_points, 1))
    parts.append(Mesh(vertices[near] + away * normals[near], np.zeros((0, 3), np.int64)))
    rotation, _ = rotation_and_turns(_random_turn(random, damage.turn_degrees))
    shift = random.normal(0, 1, 3)
    shift *= damage.offset / np.linalg.norm(shift)
    joined = _join(parts)
    moved = Mesh(joined.vertices @ rotation.T + shift, joined.triangles)
    picked = landmarks + random.normal(0, 0.3, (7, 3))  # people click beside the point
    return SyntheticScan(moved, picked @ rotation.T + shift, rotation, shift)


def subdivide(mesh: Mesh) -> Mesh:
    """Every triangle becomes four."""
    edges = np.sort(mesh.triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    middle = which.reshape(-1, 3) + len(mesh.vertices)
    a, b, c = mesh.triangles.T
    ab, bc, ca = middle.T
    triangles = [np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    vertices = np.concatenate([mesh.vertices, mesh.vertices[unique].mean(axis=1)])
    return Mesh(vertices, np.concatenate(triangles))


def _mean_edge(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.triangles]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean())


def _cut(mesh: Mesh, keep: Bool[np.ndarray, " V"]) -> Mesh:
    """The part of a mesh whose vertices are kept."""
    triangles = mesh.triangles[keep[mesh.triangles].all(axis=1)]
    used = np.zeros(len(mesh.vertices), bool)
    used[triangles] = True
    new_index = np.cumsum(used) - 1
    return Mesh(mesh.vertices[used], new_index[triangles])


def _outer_side(mesh: Mesh) -> Mesh:
    """What a scanner in front sees, straight or from 50 degrees to a side; no mouth socket."""
    tree = build_tree(mesh.vertices, mesh.triangles)
    corners = mesh.vertices[mesh.triangles]
    middle = corners.mean(axis=1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    seen = np.zeros(len(middle), bool)
    for yaw in (0.0, np.radians(50.0), -np.radians(50.0)):
        direction = np.array([np.sin(yaw), 0.0, np.cos(yaw)])
        left = np.flatnonzero(~seen & (normals @ direction > 0))
        travelled = np.full(len(left), 0.3)
        for _ in range(40):  # walk as far as nothing is near, until free or stopped
            points = middle[left] + travelled[:, None] * direction
            distance, _ = closest_distances(tree, points)
            travelled += distance
            free = travelled > 60.0
            seen[left[free]] = True
            going = ~free & (distance > 0.03)
            left, travelled = left[going], travelled[going]
            if not len(left):
                break
    return _cut(Mesh(mesh.vertices, mesh.triangles[seen]), np.ones(len(mesh.vertices), bool))


def _waves(
    vertices: Float[np.ndarray, "V 3"], random: np.random.Generator
) -> Float[np.ndarray, " V"]:
    """A smooth field of about unit size: the scanner's slow distortions."""
    total = np.zeros(len(vertices))
    for _ in range(6):
        wave = random.normal(0, 2 * np.pi / 40, 3)
        total += np.sin(vertices @ wave + random.uniform(0, 2 * np.pi))
    return total / np.sqrt(3)


def _patch(centre: Float[np.ndarray, " 3"], random: np.random.Generator) -> Mesh:
    """A small floating grid, as reflections leave behind."""
    x, y = np.meshgrid(np.arange(5.0), np.arange(4.0))
    flat = np.stack([x.ravel() * 1.5, y.ravel() * 1.5, random.normal(0, 0.4, x.size)], axis=1)
    corner = (np.arange(3)[:, None] * 5 + np.arange(4)).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 5], axis=1),
            np.stack([corner + 1, corner + 6, corner + 5], axis=1),
        ]
    )
    return Mesh(flat + centre, triangles)


def _join(parts: list[Mesh]) -> Mesh:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=True)]),
    )


def _random_turn(random: np.random.Generator, degrees: float) -> Float[np.ndarray, " 3"]:
    axis = random.normal(0, 1, 3)
    return axis / np.linalg.norm(axis) * np.radians(degrees) * random.uniform(0.3, 1)


def write_scan(root: Path, subject: str, scan: SyntheticScan) -> None:
    """Write scan and landmarks of one subject."""
    save_obj(root / SCANS / subject / f"{SCAN_NAME}.obj", scan.mesh)
    path = root / SCAN_LANDMARKS / subject / f"{SCAN_NAME}_picked_points.pp"
    write_atomically(path, pp_text(scan.landmarks, f"{SCAN_NAME}.obj").encode())


def pp_text(landmarks: Float[np.ndarray, "7 3"], scan_name: str) -> str:
    """MeshLab's picked-points file; the points stand on lines 9 to 15."""
    points = "".join(
        f' <point x="{x:.6f}" y="{y:.6f}" z="{z:.6f}" active="1" name="{index}"/>\n'
        for index, (x, y, z) in enumerate(landmarks.tolist())
    )
    return (
        "<!DOCTYPE PickedPoints>\n<PickedPoints>\n <DocumentData>\n"
        '  <DateTime time="12:00:00" date="2026-01-01"/>\n  <User name="synthetic"/>\n'
        f'  <DataFileName name="{scan_name}"/>\n  <templateName name=""/>\n </DocumentData>\n'
        f"{points}</PickedPoints>\n"
    )


def write_truth(root: Path, subject: str, head: Mesh, landmarks: Float[np.ndarray, "7 3"]) -> None:
    """Keep the clean head [mm] and its landmarks beside the data: truth/SUBJECT.ply and .npy."""
    save_ply(root / TRUTH / f"{subject}.ply", head)
    save_npy(root / TRUTH / f"{subject}.npy", landmarks)


def write_photo(root: Path, name: str, pixels: UInt8[np.ndarray, "H W 3"], box: Box) -> None:
    """Write one photo (SUBJECT/CHALLENGE/IMG_0001.jpg) and its face box."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=92)
    write_atomically(root / PICTURE_ROOT / PICTURES / name, buffer.getvalue())
    save_box((root / PICTURE_ROOT / BOXES / name).with_suffix(".npy"), box)


def write_image_list(root: Path, split: Split, names: list[str]) -> None:
    """Write the image list of a split."""
    write_atomically(root / LISTS[split], "".join(f"{name}\n" for name in names).encode())
