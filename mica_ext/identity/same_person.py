"""One identity from several photos of one person, and how far the photos disagree."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.errors import UserError
from mica_ext.identity.network import Identity
from mica_ext.identity.predictor import IdentityPredictor

MIN_COSINE = 0.2
"""Cosine of an embedding to the mean of the others below which it is another person's.

A lenient threshold: random directions in 512 dimensions have cosines of 0 +- 0.04, and the
verification thresholds in use with ArcFace are higher. Not measured on MICA's own weights.
"""
SHARP_CONTRAST = 0.12
"""Relative sharpness at which a photo has half the weight of a perfectly sharp one."""
MIN_WEIGHT = 0.05
"""Of the best possible weight: no photo is ignored altogether."""


class PersonIdentity(NamedTuple):
    """One identity for all photos of a person."""

    identity: Identity
    """A batch of one."""
    weights: Float[Tensor, " N"]
    """Of the photos; their sum is 1."""
    angles_degrees: Float[Tensor, " N"]
    """Between each photo's embedding and the mean [degrees]."""
    spread_mm: float
    """Root mean square distance of the photos' neutral meshes to the mean identity's [mm]."""


def merge_identities(
    predictor: IdentityPredictor,
    decoder: HeadDecoder,
    crops: Float[Tensor, "N 3 112 112"],
    landmarks_px: Float[Tensor, "N 68 2"],
    names: list[str],
) -> PersonIdentity:
    """The identity of the weighted mean of unit embeddings.

    Args:
        predictor: of the decoder's head.
        decoder: measures the spread of the photos' meshes.
        crops: ArcFace crops, one per photo.
        landmarks_px: landmarks of the same faces.
        names: of the photos, for the error.

    Raises:
        UserError: a photo shows another person.
    """
    each = predictor(crops)
    _require_one_person(each.embedding, names)
    weights = photo_weights(crops, landmarks_px)
    merged = predictor.from_embedding((weights[:, None] * each.embedding).sum(0, keepdim=True))
    cosine = (each.embedding @ merged.embedding[0]).clamp(-1, 1)
    shapes = torch.cat([each.shape, merged.shape])
    with torch.no_grad():
        heads = HeadParameters.zeros(decoder.head, len(shapes))._replace(shape=shapes)
        vertices = decoder(heads).vertices
    squared = (vertices[:-1] - vertices[-1]).square().sum(-1).mean(1)
    spread_mm = 1000 * float((weights * squared).sum().sqrt())
    return PersonIdentity(merged, weights, torch.rad2deg(cosine.acos()), spread_mm)


def photo_weights(
    crops: Float[Tensor, "N 3 112 112"], landmarks_px: Float[Tensor, "N 68 2"]
) -> Float[Tensor, " N"]:
    """Weights of photos by pose and sharpness; their sum is 1."""
    weights = frontality(landmarks_px) * sharpness(crops)
    weights = weights.clamp(min=MIN_WEIGHT)
    return weights / weights.sum()


def frontality(landmarks_px: Float[Tensor, "N 68 2"]) -> Float[Tensor, " N"]:
    """1 for a frontal face, 0 for a profile: how evenly the nose divides the eyes' distance.

    The nose tip's place between the outer eye corners, along their line, as the shorter part's
    share of the longer one.
    """
    right, left, tip = landmarks_px[:, 36], landmarks_px[:, 45], landmarks_px[:, 30]
    axis = F.normalize(left - right, dim=-1)
    first, second = ((tip - right) * axis).sum(-1), ((left - tip) * axis).sum(-1)
    shorter, longer = torch.minimum(first, second), torch.maximum(first, second)
    return (shorter / longer.clamp(min=1e-6)).clamp(0, 1)


def sharpness(crops: Float[Tensor, "N 3 112 112"]) -> Float[Tensor, " N"]:
    """0 for a blurred crop towards 1 for a sharp one, whatever its contrast.

    The standard deviation of the Laplacian of luma over that of luma, saturating.
    """
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    luma = (crops * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    laplacian = F.conv2d(luma, kernel[None, None])
    ratio = laplacian.flatten(1).std(1) / luma.flatten(1).std(1).clamp(min=1e-6)
    return ratio / (ratio + SHARP_CONTRAST)


def _require_one_person(embedding: Float[Tensor, "N 512"], names: list[str]) -> None:
    if len(embedding) < 2:
        return
    others = embedding.sum(0, keepdim=True) - embedding
    cosines = (embedding * F.normalize(others)).sum(-1).numpy()
    worst = int(np.argmin(cosines))
    if cosines[worst] < MIN_COSINE:
        raise UserError(
            f"--same-person: {names[worst]} shows another person than the other photos (cosine "
            f"{cosines[worst]:.2f}, expected {MIN_COSINE} or more): leave it out, or choose the "
            "face with --face"
        )
