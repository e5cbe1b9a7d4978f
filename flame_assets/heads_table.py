"""The heads there are: whose they are, what they are for, and the command that brings each."""

from typing import NamedTuple


class HeadEntry(NamedTuple):
    """One head, whether it is on this machine or not."""

    name: str
    """For `--head`."""
    licence: str
    unlocks: str
    """What it is good for, one line."""
    command: str
    """Brings it onto this machine."""


ACADEMIC = "FLAME academic model licence: non-commercial research"
HEADS = (
    HeadEntry(
        "anthro",
        "Apache-2.0",
        "reconstruct without any account; ARKit expressions by name",
        "nothing to do: built when first used",
    ),
    HeadEntry(
        "gnm",
        "Apache-2.0, Google",
        "the finest open identity (253 modes); ARKit's names in a GLB only",
        "flame-assets get gnm",
    ),
    HeadEntry(
        "ict",
        "MIT, USC ICT",
        "100 identity modes, ARKit expressions by name, teeth and eyes",
        "flame-assets get ict",
    ),
    HeadEntry(
        "flame2020-generic",
        ACADEMIC,
        "MICA's identity (`mica-ext import`), parameters of MICA, DECA, SMIRK",
        "flame-assets download flame2020",
    ),
    HeadEntry(
        "flame2023",
        ACADEMIC,
        "FLAME 2023; not the head of MICA's, DECA's and SMIRK's weights",
        "flame-assets download flame2023",
    ),
    HeadEntry(
        "flame2023-open",
        "CC BY 4.0 with FLAME's use restrictions",
        "the FLAME that may be used commercially; not the head of MICA's weights",
        "flame-assets download flame2023-open",
    ),
)
