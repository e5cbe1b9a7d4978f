"""The multi-task loss of the expression branch, on the head at rest and in the crop.

Movements are compared on the head without rotation, so that an error of the pose is not counted at
every vertex again; pose and camera are compared by themselves and through reprojected landmarks.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadMesh, HeadParameters
from flame_assets.model.lbs import rotation_matrices
from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.config import LossWeights
from mica_ext.expression.crop_camera import HALF, CropView, anchor_of, crop_view
from mica_ext.expression.network import head_parameters
from mica_ext.expression.training.skin_points import SkinPoints

MM = 1000.0
LID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIP_PAIRS = ((61, 67), (62, 66), (63, 65), (48, 54))
"""IBUG landmarks whose distances tell lids, the mouth's opening and its width."""
VERTEX_STEP = 4
FACE_WEIGHT, ELSEWHERE_WEIGHT = 1.0, 0.1
"""Of vertices, where the head says what its face is: expressions hardly move the rest."""


class Truth(NamedTuple):
    """What is known of a batch of crops."""

    shape: Float[Tensor, "B S"]
    movement: BranchOutput
    """Parameters that a perfect branch would give."""
    points_px: Float[Tensor, "B 68 2"]
    """IBUG landmarks [crop px]."""
    confidence: Float[Tensor, "B 68"]
    """Of the landmarks, 0 to 1."""
    has_3d: Float[Tensor, " B"]
    """Weight of `movement`: 1 where it is exact, less where a fit made it, 0 where the landmarks
    alone are known."""
    dense_px: Float[Tensor, "B 468 2"] | None = None
    """Face Mesh's points of skin [crop px]; None: nowhere known."""
    dense_confidence: Float[Tensor, "B 468"] | None = None
    """0 to 1, and 0 for all points of a crop whose points are not known or not needed."""


class BranchLoss(NamedTuple):
    """The loss and its terms, before they are weighted."""

    loss: Float[Tensor, ""]
    posed_mm: Float[Tensor, ""]
    parameters: Float[Tensor, ""]
    distances_mm: Float[Tensor, ""]
    pose: Float[Tensor, ""]
    camera: Float[Tensor, ""]
    points: Float[Tensor, ""]
    seen_distances: Float[Tensor, ""]
    dense: Float[Tensor, ""]
    neutral_mm: Float[Tensor, ""]
    """Of the identity that the branch reads, if it does, as the next two."""
    own_points: Float[Tensor, ""]
    """`points` and `seen_distances` on that identity."""
    own_distances: Float[Tensor, ""]


class ExpressionLoss(nn.Module):
    """Compares `BranchOutput` with `Truth` on one head."""

    vertex_weights: Tensor
    compared: Tensor
    """Rows of vertices with a weight."""
    shape_basis: Tensor
    """Identity modes [n,3,S] of these."""
    pairs: Tensor
    """Of `LID_PAIRS` and `LIP_PAIRS`: first landmarks, second ones."""

    def __init__(
        self, decoder: HeadDecoder, weights: LossWeights, skin: SkinPoints | None = None
    ) -> None:
        """Set up for a head.

        Args:
            decoder: of the head, or of some of its vertices.
            weights: of the terms.
            skin: dense points, read from the decoder's vertices; None: they are not compared.
        """
        super().__init__()
        self.decoder, self.weights, self.skin = decoder, weights, skin
        self.landmark_decoder = decoder.landmark_head()
        head = decoder.head
        factors = torch.full((head.vertices_count,), FACE_WEIGHT)
        if "face" in head.regions:
            factors.fill_(ELSEWHERE_WEIGHT)
            factors[torch.tensor(head.regions["face"]).long()] = FACE_WEIGHT
        factors = factors[torch.from_numpy(decoder.vertex_ids).long()]
        if len(factors) < head.vertices_count:  # else features, dense in landmarks, count more
            factors[torch.from_numpy(decoder.vertex_ids % VERTEX_STEP != 0)] = 0
        self.register_buffer("vertex_weights", factors / factors.sum(), persistent=False)
        compared = np.flatnonzero(factors.numpy())
        basis = torch.from_numpy(head.shape_basis[decoder.vertex_ids[compared]]).float()
        self.register_buffer("compared", torch.from_numpy(compared), persistent=False)
        self.register_buffer("shape_basis", basis, persistent=False)
        pairs = torch.tensor(LID_PAIRS + LIP_PAIRS).T.contiguous()
        self.register_buffer("pairs", pairs, persistent=False)

    def forward(
        self,
        output: BranchOutput,
        truth: Truth,
        shape: Float[Tensor, "B S"] | None = None,
        mean_known: Float[Tensor, ""] | None = None,
    ) -> BranchLoss:
        """Means over the batch; terms in 3D over the crops that have it.

        Args:
            output: of the branch.
            truth: what is known.
            shape: identities that the branch's movement is put on; None: the true ones.
            mean_known: of `has_3d`, over all processes' crops; None: these are all.
        """
        weights = self.weights
        found = self.decoder(_at_rest(output, truth.shape if shape is None else shape))
        with torch.no_grad():
            wanted = self.decoder(_at_rest(truth.movement, truth.shape))
        mean = truth.has_3d.mean() if mean_known is None else mean_known
        known = truth.has_3d / mean.clamp(min=1e-6)
        seen = _seen(found, output)
        terms = {
            "posed_mm": (known * self._posed(found, wanted)).mean(),
            "parameters": (known * _parameters(output, truth.movement)).mean(),
            "distances_mm": (
                known * MM * self._difference(found.landmarks, wanted.landmarks).mean(1)
            ).mean(),
            "pose": (known * _pose(output, truth.movement)).mean(),
            "camera": (
                known * (output.crop_camera - truth.movement.crop_camera).abs().mean(1)
            ).mean(),
            "points": _points(seen, truth).mean(),
            "seen_distances": self._seen_distances(seen, truth).mean(),
            "dense": self._dense(found, output, truth).mean(),
            **self._identity(output, truth, known),
        }
        factors = (
            weights.posed,
            weights.parameters,
            weights.distances,
            weights.pose,
            weights.camera,
            weights.points,
            weights.seen_distances,
            weights.dense,
            weights.neutral,
            weights.points,
            weights.seen_distances,
        )
        by_weight = zip(terms.values(), factors, strict=True)
        loss = torch.stack([weight * term for term, weight in by_weight]).sum()
        return BranchLoss(loss, **terms)

    def _posed(self, found: HeadMesh, wanted: HeadMesh) -> Float[Tensor, " B"]:
        """Weighted mean distance of the moved heads' vertices [mm]."""
        offsets = (found.vertices - wanted.vertices).square().sum(-1)
        return MM * ((offsets + 1e-12).sqrt() * self.vertex_weights).sum(1)

    def _identity(
        self, output: BranchOutput, truth: Truth, known: Float[Tensor, " B"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Terms of the identity that the branch reads; zero where it reads none.

        The movement is held fixed in them: it must not make up for the identity's errors.
        """
        if not output.shape.shape[1]:
            zero = output.jaw_pose.new_zeros(())
            return {"neutral_mm": zero, "own_points": zero, "own_distances": zero}
        apart = torch.einsum("bs,vxs->bvx", output.shape - truth.shape, self.shape_basis)
        weights = self.vertex_weights[self.compared]
        neutral = MM * ((apart.square().sum(-1) + 1e-12).sqrt() * weights).sum(1)
        fixed = BranchOutput(*(values.detach() for values in output))
        seen = _seen(self.landmark_decoder(_at_rest(fixed, output.shape)), fixed)
        return {
            "neutral_mm": (known * neutral).mean(),
            "own_points": _points(seen, truth).mean(),
            "own_distances": self._seen_distances(seen, truth).mean(),
        }

    def _dense(self, found: HeadMesh, output: BranchOutput, truth: Truth) -> Float[Tensor, " B"]:
        """Mean distance of reprojected points of skin that face the viewer [half crops]."""
        if self.skin is None or truth.dense_px is None or truth.dense_confidence is None:
            return torch.zeros_like(truth.has_3d)
        view = crop_view(output.crop_pose, output.crop_camera)
        seen = project_to_crop(self.skin(found.vertices), anchor_of(found.landmarks), view)
        offsets = ((seen - truth.dense_px).square().sum(-1) + 1e-6).sqrt() / HALF
        weights = truth.dense_confidence * self.skin.facing(view.rotation.detach())
        return (offsets * weights).sum(1) / weights.sum(1).clamp(min=1.0)

    def _difference(
        self, found: Float[Tensor, "B 68 d"], wanted: Float[Tensor, "B 68 d"]
    ) -> Float[Tensor, "B n"]:
        """Absolute difference of lid and lip distances."""
        first, second = self.pairs
        lengths = [
            ((points[:, first] - points[:, second]).square().sum(-1) + 1e-12).sqrt()
            for points in (found, wanted)
        ]
        return (lengths[0] - lengths[1]).abs()

    def _seen_distances(self, seen: Float[Tensor, "B 68 2"], truth: Truth) -> Float[Tensor, " B"]:
        """Mean difference of the distances in the crop, weighted by confidence [half crops]."""
        first, second = self.pairs
        confidence = torch.minimum(truth.confidence[:, first], truth.confidence[:, second])
        difference = self._difference(seen, truth.points_px) / HALF
        return (difference * confidence).sum(1) / confidence.sum(1).clamp(min=1.0)


def expression_loss(head: HeadModel, weights: LossWeights) -> ExpressionLoss:
    """The loss on a head with few vertices and, if they have a weight, the dense points."""
    if not weights.dense:
        return ExpressionLoss(sparse_decoder(head), weights)
    skin = SkinPoints(HeadDecoder(head))
    decoder = sparse_decoder(head, skin.vertex_ids)
    return ExpressionLoss(decoder, weights, skin.among(decoder.vertex_ids))


def sparse_decoder(head: HeadModel, also: Int[np.ndarray, "*n"] | tuple[()] = ()) -> HeadDecoder:
    """The head with every `VERTEX_STEP`th vertex, those under its landmarks, and `also` some.

    Movements are smooth: their mean distance is that of all vertices within some per cent, at a
    quarter of the cost.
    """
    kept = np.union1d(HeadDecoder(head).landmark_head().vertex_ids, np.asarray(also, np.int64))
    return HeadDecoder(
        head, vertices=np.union1d(kept, np.arange(0, head.vertices_count, VERTEX_STEP))
    )


def project_to_crop(
    landmarks: Float[Tensor, "B n 3"], anchor: Float[Tensor, "B 3"], view: CropView
) -> Float[Tensor, "B n 2"]:
    """Points of a head without rotation [m], as the crop shows them [crop px]."""
    turned = (landmarks - anchor[:, None]) @ view.rotation.transpose(1, 2)
    across = turned[..., :2] * turned.new_tensor([1.0, -1.0])
    return view.anchor_px[:, None] + view.scale[:, None, None] * across


def _at_rest(output: BranchOutput, shape: Float[Tensor, "B S"]) -> HeadParameters:
    """The moved head, not rotated; coefficients are not cut, for cut ones have no gradient."""
    return head_parameters(output, shape, None, torch.zeros_like(output.crop_pose))


def _parameters(output: BranchOutput, truth: BranchOutput) -> Float[Tensor, " B"]:
    pairs = list(zip(output[:4], truth[:4], strict=True))  # expression, jaw, eyes
    return torch.stack([(a - b).square().mean(1) for a, b in pairs], 1).sum(1)


def _pose(output: BranchOutput, truth: BranchOutput) -> Float[Tensor, " B"]:
    difference = rotation_matrices(output.crop_pose) - rotation_matrices(truth.crop_pose)
    return difference.abs().mean((1, 2))


def _seen(found: HeadMesh, output: BranchOutput) -> Float[Tensor, "B 68 2"]:
    """Landmarks as the branch says that the crop shows them [crop px].

    The contour is a frontal head's: where it lies on the head depends on the pose.
    """
    view = crop_view(output.crop_pose, output.crop_camera)
    return project_to_crop(found.landmarks, anchor_of(found.landmarks), view)


def _points(seen: Float[Tensor, "B 68 2"], truth: Truth) -> Float[Tensor, " B"]:
    """Mean distance of reprojected inner landmarks, weighted by confidence [half crops]."""
    offsets = ((seen - truth.points_px).square().sum(-1) + 1e-6).sqrt()[:, 17:] / HALF
    confidence = truth.confidence[:, 17:]
    return (offsets * confidence).sum(1) / confidence.sum(1).clamp(min=1.0)
