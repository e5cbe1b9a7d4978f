"""Lids and lips of carried shapes close as far as the source's; lids stay on the globe."""

import numpy as np
from jaxtyping import Float32, Float64, Int64
from scipy.sparse import csc_array, diags_array, vstack
from scipy.sparse.linalg import SuperLU, splu

from mica_ext.render.sampling import smoothstep
from mica_ext.shape_transfer.deformation import DeformationTransfer
from mica_ext.shape_transfer.face_surface import MOUTH
from mica_ext.shape_transfer.openings import LID_EYES, Edges, lid_edges, lip_edges, mouth_width

LOCAL_LENGTH = 0.11
"""Reach of a correction along the skin, in distances of the outer eye corners."""
MIN_GAP = 0.02
"""Gap of a lid's edges, likewise, below which they cannot be told apart."""
LID_SHARES, LIP_SHARES = (1.0, 0.0), (0.5, 0.5)
"""Of a correction, for the upper and the lower edge."""
DAMPING = 1e-3
"""Of the corrections, relative to the strongest influence."""
GLOBE_NEAR, GLOBE_FAR = 1.15, 1.5
"""Distances from an eye's centre, in those of its lids' edges, up to which lids slide on the globe
and from which they are free."""


class Contacts:
    """Corrections of shapes that a `DeformationTransfer` carries."""

    def __init__(self, transfer: DeformationTransfer) -> None:
        """Find the edges on both heads, and how skin follows the target's."""
        self.transfer = transfer
        source, target = transfer.source, transfer.target
        rotation = transfer.map.similarity.rotation
        system = csc_array(
            transfer.laplacian + diags_array(transfer.mass / (LOCAL_LENGTH * target.unit) ** 2)
        )
        solver = splu(system, "MMD_AT_PLUS_A", options={"SymmetricMode": True})
        self.closures: dict[int, Closure] = {}
        """By the opening's label."""
        for eye, (label, _, _) in enumerate(LID_EYES):
            edges = lid_edges(source, eye), lid_edges(target, eye)
            gaps = edges[0].gaps(source.vertices), edges[1].gaps(target.vertices)
            lengths = np.linalg.norm(np.stack(gaps), axis=2)
            rows = edges[0].known() & edges[1].known()
            rows &= (lengths > MIN_GAP * np.array([[source.unit], [target.unit]])).all(0)
            maps = [
                (to / of) * _shortest_rotation(rotation @ a, b) @ rotation
                for a, b, of, to in zip(*(part[rows] for part in (*gaps, *lengths)), strict=True)
            ]
            own, other = (Edges(e.upper[rows], e.lower[rows]) for e in edges)
            if maps:
                lids = Closure(transfer, solver, own, other, np.array(maps), LID_SHARES)
                self.closures[label] = lids
        scale = mouth_width(target) / mouth_width(source)
        own, other = lip_edges(source), lip_edges(target)
        maps = np.tile(scale * rotation, (len(own.known()), 1, 1))
        self.closures[MOUTH] = Closure(transfer, solver, own, other, maps, LIP_SHARES)

    def __call__(
        self,
        displacements: Float64[np.ndarray, "E Vt 3"],
        moved: Float64[np.ndarray, "E Vs 3"],
    ) -> Float64[np.ndarray, "E Vt 3"]:
        """Displacements [m] of the target whose gaps follow those of the source's shapes."""
        displacements = displacements.copy()
        for shape, displacement in zip(moved, displacements, strict=True):
            for closure in self.closures.values():
                closure.correct(displacement, shape)
        return displacements

    def corrections(
        self, label: int
    ) -> tuple[Float32[np.ndarray, "pairs Vt"], Float32[np.ndarray, "pairs Vt"]]:
        """Weights of the target's vertices in the gaps of an opening, and their influence."""
        closure = self.closures[label]
        gaps = (closure.target.upper - closure.target.lower).toarray().astype(np.float32)
        influence = np.zeros_like(gaps)
        influence[:, closure.used] = closure.influence.T
        return gaps, influence


class Closure:
    """One opening: the target's gap changes as the source's does, scaled by their sizes."""

    def __init__(
        self,
        transfer: DeformationTransfer,
        solver: SuperLU,
        source: Edges,
        target: Edges,
        maps: Float64[np.ndarray, "pairs 3 3"],
        shares: tuple[float, float],
    ) -> None:
        """`maps` take changes of the source's gaps to the target's."""
        self.source, self.target, self.maps = source, target, maps
        self.neutral = source.gaps(transfer.source.vertices)
        self.used = transfer.used
        rows = vstack([target.upper, target.lower]).tocsc()[:, self.used].toarray()
        smooth = solver.solve(transfer.mass[:, None] * solver.solve(rows.T))
        system = rows @ smooth
        system[np.diag_indices_from(system)] += DAMPING * system.diagonal().max()
        pairs = len(maps)
        changes = np.concatenate([shares[0] * np.eye(pairs), -shares[1] * np.eye(pairs)])
        self.influence = smooth @ np.linalg.solve(system, changes)
        """Of the correction of each pair, on the moving vertices."""

    def correct(
        self, displacement: Float64[np.ndarray, "Vt 3"], shape: Float64[np.ndarray, "Vs 3"]
    ) -> None:
        """Add the correction to a displacement, in place."""
        wanted = np.einsum("pxy,py->px", self.maps, self.source.gaps(shape) - self.neutral)
        displacement[self.used] += self.influence @ (wanted - self.target.gaps(displacement))


def slide_on_globes(
    transfer: DeformationTransfer,
    displacements: Float64[np.ndarray, "E Vt 3"],
    moved: Float64[np.ndarray, "E Vs 3"],
) -> Float64[np.ndarray, "E Vt 3"]:
    """Displacements whose lids come as near to the eyes' centres as the source's, by ratio."""
    source, target = transfer.source, transfer.target
    displacements = displacements.copy()
    corners = source.triangles[transfer.map.vertex_triangles]
    for label, ring, eye in LID_EYES:
        arms = target.vertices - target.eyes[eye]
        distance = np.linalg.norm(arms, axis=1)
        edge = np.linalg.norm(target.spots[ring] - target.eyes[eye], axis=1).mean()
        lids = np.flatnonzero((np.abs(target.sides) == label) & (distance < GLOBE_FAR * edge))
        weight = 1 - smoothstep(distance[lids] / edge, GLOBE_NEAR, GLOBE_FAR)
        weights = transfer.map.vertex_weights[lids]

        rest = _mean_spots(source.vertices, corners[lids], weights) - source.eyes[eye]
        for shape, displacement in zip(moved, displacements, strict=True):
            now = arms[lids] + displacement[lids]
            length = np.linalg.norm(now, axis=1)
            spots = _mean_spots(shape, corners[lids], weights) - source.eyes[eye]
            ratio = np.linalg.norm(spots, axis=1) / np.linalg.norm(rest, axis=1)
            wanted = distance[lids] * ratio
            displacement[lids] += (weight * (wanted / length - 1))[:, None] * now
    return displacements


def _mean_spots(
    vertices: Float64[np.ndarray, "V 3"],
    corners: Int64[np.ndarray, "n 3"],
    weights: Float64[np.ndarray, "n 3"],
) -> Float64[np.ndarray, "n 3"]:
    return np.einsum("nc,ncx->nx", weights, vertices[corners])


def _shortest_rotation(
    a: Float64[np.ndarray, "3"], b: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "3 3"]:
    """The rotation of least angle that takes the direction of a to that of b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis, cosine = np.cross(a, b), float(a @ b)
    x, y, z = axis
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + K + K @ K / max(1 + cosine, 1e-9)
