"""`reconstruct --same-person`: one identity for all photos of a run."""

import sys
from typing import TYPE_CHECKING

from mica_ext.commands.config import ReconstructConfig
from mica_ext.commands.photo_run.output_plan import Job
from mica_ext.errors import UserError

if TYPE_CHECKING:
    from mica_ext.identity.same_person import PersonIdentity
    from mica_ext.reconstruct import Reconstructor


def merge_jobs(
    config: ReconstructConfig, jobs: tuple[Job, ...], reconstructor: "Reconstructor"
) -> "PersonIdentity | None":
    """The identity of all photos of a run, its spread told on standard error; None if not asked.

    Raises:
        UserError: it cannot be had, or a photo shows another person.
    """
    if not config.same_person:
        return None
    if config.chosen_face == "all":
        raise UserError(
            "--same-person takes one face of each photo: give --face largest, center or N"
        )
    if config.identity == "fit":
        raise UserError(
            "--same-person takes the identity network's embeddings: leave --identity out"
        )
    which = int(config.chosen_face) if config.chosen_face.isdecimal() else config.chosen_face
    person = reconstructor.merge_photos(
        [job.photo for job in jobs],
        which,  # type: ignore[arg-type]
        min_face=config.min_face,
    )
    degrees = person.angles_degrees
    print(
        f"one identity from {len(jobs)} photos: spread {person.spread_mm:.2f} mm, embeddings "
        f"{float(degrees.min()):.0f} to {float(degrees.max()):.0f} degrees from their mean",
        file=sys.stderr,
    )
    return person
