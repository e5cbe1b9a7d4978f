"""Options of the `flame-assets` commands; each docstring is the command's help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

ArchiveName = Literal["flame2020", "flame2023", "flame2023-open", "flame2019", "flame-masks"]


@dataclass(frozen=True, kw_only=True)
class StatusConfig:
    """List the heads and public files on this machine and whether they are intact."""


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Print a head's sizes, expressions, regions and licence."""

    head: Positional[str] = "auto"
    """auto, anthro, flame2020, ... or a head folder."""


@dataclass(frozen=True, kw_only=True)
class GetConfig:
    """Fetch a public file of other people, or an open head, into the store; no account is needed.

    An interrupted fetch goes on when the command is run again.
    """

    name: Positional[str]
    """gnm, ict (heads), face-mesh, mica, farl, ...; `flame-assets status` lists them all."""


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Convert FLAME's licensed files (.pkl, .npz, .zip), GNM's gnm_head.npz or ICT-FaceKit's folder
    FaceXModel to heads, and keep them in the store."""

    files: Positional[tuple[Path, ...]]
    """Model files: generic_model.pkl, FLAME2020.zip, flame2023_Open.pkl, ..."""
    landmarks: Path | None = None
    """landmark_embedding.npy (in the repositories of MICA, DECA and SMIRK), or its entries as .npz
    or .pkl; by default the one beside each model file, or in the store's downloads. For GNM:
    head_sparse_68.txt."""
    masks: Path | None = None
    """FLAME_masks.pkl or .zip, for regions; by default the store's download."""
    name: str | None = None
    """The head's name in the store; by default from the file, e.g. flame2020-generic."""


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """Download a FLAME release with your account at flame.is.tue.mpg.de, then convert it.

    The account is asked for, or taken from FLAME_USERNAME and FLAME_PASSWORD. An interrupted
    download goes on when the command is run again. The landmarks are no part of the release:
    without landmark_embedding.npy the command ends by saying what to run next.
    """

    archive: Positional[ArchiveName]
    """Which release; flame-masks (vertex regions) needs no account."""


@dataclass(frozen=True, kw_only=True)
class ExportSmplxConfig:
    """Write a head, Anthro too, as a folder for smplx.create(folder, model_type="flame")."""

    head: Positional[str]
    """auto, anthro, flame2020, ... or a head folder."""
    folder: Positional[Path]
    """Where `flame/FLAME_NEUTRAL.pkl` and the landmark files go."""
