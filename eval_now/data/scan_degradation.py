"""Simulated 3D scans: a clean head mesh with the defects of a real scanner.

The surface is made dense, cut to the side that the scanner sees, given noise, holes, spikes, loose
points, a floating patch and an unseen part, and moved to another frame.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from eval_now.geometry.closest_points.bvh import build_tree
from eval_now.geometry.closest_points.queries import closest_triangles
from eval_now.geometry.crop import crop_sphere
from eval_now.geometry.mesh import Mesh
from eval_now.geometry.normals import vertex_normals
from eval_now.geometry.rotation import rotation_jacobian

Unseen = Literal["nothing", "a side", "the chin"]


class ScanDegradation(NamedTuple):
    """Kinds and amounts of scanner defects."""

    max_edge_mm: float = 1.5
    """The mesh is subdivided until its mean edge is at most this long."""
    noise_mm: float = 0.15
    """Standard deviation along the normal, independent per vertex."""
    distortion_mm: float = 0.1
    """Standard deviation along the normal, smooth over the surface."""
    holes: int = 6
    spikes: int = 30
    loose_points: int = 20
    floating_patch: bool = True
    unseen: Unseen = "nothing"
    """Part of the face that the scanner missed."""
    max_rotation_degrees: float = 15.0
    """Of the scan's frame against the head's."""
    translation_mm: float = 100.0
    """Distance of the scan's origin from the head's."""


class SyntheticScan(NamedTuple):
    """A scan and its landmarks [mm]; head frame -> scan frame is x -> rotation x + translation."""

    mesh: Mesh
    landmarks: Float[np.ndarray, "7 3"]
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]


def degrade_to_scan(
    head: Mesh, landmarks: Float[np.ndarray, "7 3"], seed: int, degradation: ScanDegradation
) -> SyntheticScan:
    """Simulate a scan of a clean head (mm, y up, z out of the face)."""
    random = np.random.default_rng(seed)
    crop = crop_sphere(landmarks)
    centre, radius = crop.centre, 1.25 * crop.radius  # real scans extend beyond the crop, too
    eyes = float(np.linalg.norm(landmarks[0] - landmarks[3]))
    mesh = _submesh(head, np.linalg.norm(head.vertices - centre, axis=1) < 1.3 * radius)
    mesh = _visible_surface(mesh)
    while _mean_edge(mesh) > degradation.max_edge_mm:
        mesh = subdivide(mesh)
    keep = np.linalg.norm(mesh.vertices - centre, axis=1) < radius
    if degradation.unseen == "a side":
        keep &= mesh.vertices[:, 0] - centre[0] < 0.55 * eyes
    elif degradation.unseen == "the chin":
        keep &= mesh.vertices[:, 1] > landmarks[5:, 1].mean() - 0.25 * eyes
    for _ in range(degradation.holes):
        hole = mesh.vertices[random.integers(len(mesh.vertices))]
        keep &= np.linalg.norm(mesh.vertices - hole, axis=1) > random.uniform(1.5, 5.0)
    mesh = _submesh(mesh, keep)
    vertices, normals = mesh.vertices.copy(), vertex_normals(mesh.vertices, mesh.triangles)
    distortion = _smooth_noise(vertices, random) * degradation.distortion_mm
    noise = random.normal(0, degradation.noise_mm, len(vertices))
    vertices += normals * (noise + distortion)[:, None]
    for index in random.integers(len(vertices), size=degradation.spikes):
        vertices[index] += normals[index] * random.choice([-1, 1]) * random.uniform(2, 12)
    pieces = [Mesh(vertices, mesh.triangles)]
    if degradation.floating_patch:
        pieces.append(
            _floating_patch(centre + random.normal(0, 15, 3) + [0, 0, 0.5 * eyes], random)
        )
    origins = random.integers(len(vertices), size=degradation.loose_points)
    offsets = random.uniform(2, 15, (degradation.loose_points, 1))
    pieces.append(Mesh(vertices[origins] + offsets * normals[origins], np.zeros((0, 3), np.int64)))
    rotation_vector = _random_rotation_vector(random, degradation.max_rotation_degrees)
    rotation = rotation_jacobian(rotation_vector).matrix
    translation = random.normal(0, 1, 3)
    translation *= degradation.translation_mm / np.linalg.norm(translation)
    joined = _concatenate(pieces)
    scan = Mesh(joined.vertices @ rotation.T + translation, joined.triangles)
    picked = landmarks + random.normal(0, 0.3, (7, 3))  # error of manual picking
    return SyntheticScan(scan, picked @ rotation.T + translation, rotation, translation)


def subdivide(mesh: Mesh) -> Mesh:
    """Split each triangle into four at its edge midpoints."""
    edges = np.sort(mesh.triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    middle = index.reshape(-1, 3) + len(mesh.vertices)
    a, b, c = mesh.triangles.T
    ab, bc, ca = middle.T
    triangles = [np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    vertices = np.concatenate([mesh.vertices, mesh.vertices[unique].mean(axis=1)])
    return Mesh(vertices, np.concatenate(triangles))


def _mean_edge(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.triangles]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean())


def _submesh(mesh: Mesh, keep: Bool[np.ndarray, " V"]) -> Mesh:
    """Triangles whose three vertices are kept, and the vertices they use."""
    triangles = mesh.triangles[keep[mesh.triangles].all(axis=1)]
    used = np.zeros(len(mesh.vertices), bool)
    used[triangles] = True
    new_index = np.cumsum(used) - 1
    return Mesh(mesh.vertices[used], new_index[triangles])


def _visible_surface(mesh: Mesh) -> Mesh:
    """Triangles visible from the front or from 50 degrees to either side (sphere tracing)."""
    tree = build_tree(mesh.vertices, mesh.triangles)
    corners = mesh.vertices[mesh.triangles]
    middle = corners.mean(axis=1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    visible = np.zeros(len(middle), bool)
    for yaw in (0.0, np.radians(50.0), -np.radians(50.0)):
        direction = np.array([np.sin(yaw), 0.0, np.cos(yaw)])
        remaining = np.flatnonzero(~visible & (normals @ direction > 0))
        travelled = np.full(len(remaining), 0.3)
        for _ in range(40):
            points = middle[remaining] + travelled[:, None] * direction
            distance = closest_triangles(tree, points).distances
            travelled += distance
            free = travelled > 60.0
            visible[remaining[free]] = True
            active = ~free & (distance > 0.03)
            remaining, travelled = remaining[active], travelled[active]
            if not len(remaining):
                break
    return _submesh(Mesh(mesh.vertices, mesh.triangles[visible]), np.ones(len(mesh.vertices), bool))


def _smooth_noise(
    vertices: Float[np.ndarray, "V 3"], random: np.random.Generator
) -> Float[np.ndarray, " V"]:
    """Smooth scalar field of unit variance, wavelengths of about 40 mm (calibration errors)."""
    total = np.zeros(len(vertices))
    for _ in range(6):
        wave_vector = random.normal(0, 2 * np.pi / 40, 3)
        total += np.sin(vertices @ wave_vector + random.uniform(0, 2 * np.pi))
    return total / np.sqrt(3)


def _floating_patch(centre: Float[np.ndarray, " 3"], random: np.random.Generator) -> Mesh:
    """A small detached grid, as reflections cause."""
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


def _concatenate(meshes: list[Mesh]) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate(
            [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]
        ),
    )


def _random_rotation_vector(
    random: np.random.Generator, max_degrees: float
) -> Float[np.ndarray, " 3"]:
    axis = random.normal(0, 1, 3)
    return axis / np.linalg.norm(axis) * np.radians(max_degrees) * random.uniform(0.3, 1)
