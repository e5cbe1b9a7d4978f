"""Batches of people: some ArcFace inputs of each, and the person's identity coefficients."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mica_ext.data.mica_layout import Actor, read_crop, read_shape
from mica_ext.errors import UserError
from pacofr.engine.batches.sampling import RankBatch
from pacofr.utils.progress import track

MOST_VALIDATION_PHOTOS = 200
"""Of a person; MICA takes as many of each as the person with the fewest has, at most these."""


class PeopleBatch(NamedTuple):
    """Some photos of each of some people."""

    crops: Float[Tensor, "b k 3 112 112"]
    """RGB in [-1, 1]."""
    shape: Float[Tensor, "b 300"]


@dataclass(frozen=True)
class People:
    """People and their identity coefficients."""

    actors: tuple[Actor, ...]
    shapes: Float32[np.ndarray, "n 300"]

    @classmethod
    def load(cls, actors: list[Actor], *, photos: int = 1) -> "People":
        """Read all coefficients.

        Raises:
            UserError: a file cannot be used, or a person has fewer than `photos` photos.
        """
        few = [actor for actor in actors if len(actor.crops) < photos]
        if few:
            raise UserError(
                f"{few[0].data_set} {few[0].name}: expected {photos} photos or more, found "
                f"{len(few[0].crops)} ({len(few)} such people); lower --photos"
            )
        shapes = [read_shape(actor.fit) for actor in track(actors, "FLAME parameters")]
        return cls(tuple(actors), np.array(shapes, np.float32).reshape(-1, 300))

    @property
    def photos(self) -> int:
        """Of all people together."""
        return sum(len(actor.crops) for actor in self.actors)

    @property
    def fingerprint(self) -> str:
        """Changes with any person, photo's name or coefficient."""
        digest = hashlib.sha256(self.shapes.tobytes())
        for actor in self.actors:
            names = (actor.data_set, actor.name, *(path.name for path in actor.crops))
            digest.update("\n".join(names).encode() + b"\0")
        return digest.hexdigest()


class PeopleReader:
    """Draws `photos` different photos of each person of a step."""

    def __init__(self, people: People, photos: int, seed: int) -> None:
        self.people, self.photos, self.seed = people, photos, seed

    def __call__(self, batch: RankBatch) -> PeopleBatch:
        """The tensors of a step; a function of (seed, epoch, index)."""
        crops = []
        for epoch, index in zip(batch.epoch.tolist(), batch.index.tolist(), strict=True):
            files = self.people.actors[index].crops
            rng = np.random.default_rng((self.seed, epoch, index))
            drawn = rng.choice(len(files), self.photos, replace=False)
            crops.append(np.stack([read_crop(files[number]) for number in drawn]))
        return PeopleBatch(
            torch.from_numpy(np.stack(crops)), torch.from_numpy(self.people.shapes[batch.index])
        )


def validation_photos(people: People) -> int:
    """How many photos of each person are measured on, the first of the list, as in MICA."""
    return min(MOST_VALIDATION_PHOTOS, *(len(actor.crops) for actor in people.actors))
