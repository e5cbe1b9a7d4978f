"""Options of the commands; imports neither torch nor numba, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """A photo in, an expressive 3D face out.

    One photo gives one mesh; several photos or a folder of them give a folder of meshes. Started
    again, a run over several photos goes on: those whose files are there, by their names, are done.
    """

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Photos, or folders of photos (there all but *.overlay.png, which this command writes)."""
    out: Path | None = None
    """Mesh to write (.obj .ply .stl .glb); a folder when there are several photos."""
    example: Flag = False
    """Reconstruct the public-domain portrait that comes with the package."""
    face: str = "largest"
    """Which face: largest, center, all, or a number (0 is the largest)."""
    neutral: Flag = False
    """The person without expression: identity alone."""
    posed: Flag = False
    """Turn the head as it is in the photo."""
    unit: Literal["mm", "cm", "m"] | None = None
    """Unit of the mesh and landmark files; mm unless given (GLB, and landmarks with it: m)."""
    params: Path | None = None
    """Also write the parameters (JSON): `mica-ext rebuild` makes the very same mesh from them."""
    landmarks: Path | None = None
    """Also write the 68 and the 7 NoW landmarks (JSON)."""
    overlay: Path | None = None
    """Also write a picture (.png .jpg): the mesh over the photo, and three views of it."""
    format: Literal["obj", "ply", "stl", "glb"] = "obj"
    """Kind of meshes in a folder of results."""
    model: str = "auto"
    """Model pack: the one that comes with the package, or a folder."""
    head: str | None = None
    """Head to use in place of the pack's: anthro, flame2020, ... or a folder."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: cuda when there is one."""
    json: Flag = False
    """Report on standard output as JSON."""
    overwrite: Flag = False
    """Replace files that exist."""


@dataclass(frozen=True, kw_only=True)
class RebuildConfig:
    """Make a mesh again from a file that `reconstruct --params` wrote."""

    params: Annotated[Path, tyro.conf.Positional]
    """The JSON file."""
    out: Path
    """Mesh to write (.obj .ply .stl .glb)."""
    pose: Literal["expressive", "neutral", "posed"] | None = None
    """Another pose than that of the mesh written with it."""
    unit: Literal["mm", "cm", "m"] | None = None
    """Unit of the file; mm unless given (GLB is always in m)."""
    head: str | None = None
    """Where the head is, if it is not known by its name."""
    overwrite: Flag = False
    """Replace a file that exists."""
