"""`mica-ext import`, `pack` and `export-encoder`: packs of MICA's checkpoint or of network folders,
and the face encoder in a pack."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from flame_assets.errors import UserError as HeadError
from flame_assets.files import write_folder
from flame_assets.model.fingerprint import weighted_sum
from flame_assets.store import load_head
from mica_ext.commands.config import ExportEncoderConfig, ImportConfig, PackConfig
from mica_ext.data.branch.card import TRAINING_CARD
from mica_ext.errors import UserError
from mica_ext.expression.encoder_export import export_expression_encoder
from mica_ext.expression.weights import load_expression_network, read_expression_config
from mica_ext.identity.mica_file import read_mica
from mica_ext.identity.predictor import require_own_head
from mica_ext.identity.weights import (
    MICA_LICENCE,
    load_identity_network,
    read_identity_config,
    save_identity_network,
)
from mica_ext.landmarks.student.weights import read_landmark_config
from mica_ext.models.pack import (
    CARD,
    FLAME_2020,
    PACK_FILE,
    SHIPPED,
    Pack,
    load_pack,
    packs_folder,
    save_pack,
)

if TYPE_CHECKING:
    from flame_assets.model.head import HeadModel

IDENTITY, LANDMARKS, EXPRESSION = "identity", "landmarks68", "expression"


def import_mica(config: ImportConfig) -> None:
    """Make a pack of `mica.tar` and print where it lies and what is still missing.

    Raises:
        UserError: the file is not MICA's, or the pack cannot be written.
    """
    out = config.out or packs_folder() / config.name
    _check_target(out, overwrite=config.overwrite)
    mica = read_mica(config.checkpoint)
    head = _flame_2020()
    sums = [None if a is None else weighted_sum(a) for a in (mica.template, mica.shape_basis)]
    if head is not None:
        require_own_head("mica", sums[0], sums[1], head)

    def fill(folder: Path) -> None:
        save_identity_network(
            mica.network,
            folder / IDENTITY,
            name="mica",
            licence=MICA_LICENCE,
            made_by=f"mica-ext import {config.checkpoint.name}",
            template=sums[0],
            shape_basis=sums[1],
        )
        write_pack_files(
            folder,
            name=config.name,
            head="flame2020",
            licence=f"{MICA_LICENCE}; points: research only",
            identity=folder / IDENTITY,
        )

    write_folder(out, fill)
    print(f"{out}\nlicence: {MICA_LICENCE}")
    if head is None:
        print("next: flame-assets download flame2020 (MICA's coefficients need FLAME 2020's head)")
    elif config.out is None:
        print(f"next: reconstruct photo.jpg --out mesh.obj --model {config.name}")


def pack(config: PackConfig) -> None:
    """Put networks together as a pack and print where it lies.

    Raises:
        UserError: a network cannot be used, or the pack cannot be written.
    """
    _check_target(config.out, overwrite=config.overwrite)
    if config.landmarks is None and config.identity is None and config.expression is None:
        raise UserError(
            "expected --identity, --landmarks or --expression with a FOLDER, got no network"
        )
    licences = []
    if config.identity is not None:
        load_identity_network(config.identity)
        licences.append(read_identity_config(config.identity).licence)
    if config.expression is not None:
        load_expression_network(config.expression, load_head(config.head))
        licences.append(read_expression_config(config.expression).licence)
    licences.append(read_landmark_config(config.landmarks).licence)
    name = config.name or config.out.name

    def fill(folder: Path) -> None:
        folders = (
            (IDENTITY, config.identity),
            (LANDMARKS, config.landmarks),
            (EXPRESSION, config.expression),
        )
        for target, source in folders:
            if source is not None:
                shutil.copytree(source, folder / target)
        write_pack_files(
            folder,
            name=name,
            head=config.head,
            licence="; ".join(dict.fromkeys(licences)),
            identity=folder / IDENTITY if config.identity else None,
            landmarks=folder / LANDMARKS if config.landmarks else None,
            expression=folder / EXPRESSION if config.expression else None,
        )

    print(write_folder(config.out, fill))


def export_encoder(config: ExportEncoderConfig) -> None:
    """Write the encoder of a pack's expression network and print where it lies and its licence.

    Raises:
        UserError: the pack has no expression network, or the folder exists or cannot be written.
    """
    found = load_pack(config.pack)
    if found.expression is None:
        raise UserError(
            f"the pack {found.name} has no expression network, so no encoder: expected a pack such"
            " as anthro-expression"
        )
    if config.out.exists():
        raise UserError(f"{config.out} exists; choose another folder")
    weights = found.expression
    print(write_folder(config.out, lambda folder: export_expression_encoder(weights, folder)))
    print(f"licence: {read_expression_config(weights).licence}")
    print(f"next: pacofr probe scratch:micro-64 {config.out} --photos HELEN")


def write_pack_files(
    folder: Path,
    *,
    name: str,
    head: str,
    licence: str,
    identity: Path | None = None,
    landmarks: Path | None = None,
    expression: Path | None = None,
) -> None:
    """Write pack.json and the card into the folder that holds the networks' folders."""
    points_folder = landmarks or load_pack(SHIPPED).landmarks
    made = Pack(
        name=name,
        licence=licence,
        head=head,
        landmarks=points_folder,
        identity=identity,
        expression=expression,
    )
    save_pack(made, folder)
    rows = ["| network | name | made by | sha256 | licence |", "|---|---|---|---|---|"]
    if made.identity is not None:
        about = read_identity_config(made.identity)
        rows.append(
            f"| identity | {about.name} | `{about.made_by}` | {about.sha256} | {about.licence} |"
        )
    if made.expression is not None:
        branch = read_expression_config(made.expression)
        rows.append(
            f"| expression | {branch.name} | `{branch.made_by}` | {branch.sha256} | "
            f"{branch.licence} |"
        )
    points = read_landmark_config(made.landmarks)
    rows.append(
        f"| points | {points.name} | `{points.command}` | {points.sha256} | {points.licence} |"
    )
    lines = [
        f"# {name}",
        "",
        f"Model pack of pacofr's `reconstruct` for the head `{head}`; licence: {licence}",
        "",
        *rows,
        "",
        *_neutral_note(made),
        "```",
        "reconstruct photo.jpg --out mesh.obj --model THIS_FOLDER",
        "```",
    ]
    if made.expression is not None and (made.expression / TRAINING_CARD).is_file():
        card = (made.expression / TRAINING_CARD).read_text(encoding="utf-8")
        lines += ["", "## What the expression network was trained on", "", card.rstrip()]
    (folder / CARD).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _neutral_note(pack: Pack) -> list[str]:
    """Whose neutral meshes a pack with both networks gives."""
    if pack.identity is None or pack.expression is None:
        return []
    about = read_identity_config(pack.identity)
    if about.trained_jointly:
        note = (
            f"The identity network {about.name} was trained jointly with the expression branch: "
            "neutral meshes differ from those of the network that it started from."
        )
    else:
        note = (
            f"The identity network {about.name} was kept: neutral meshes equal its own to the last "
            "bit, whatever the expression branch says."
        )
    return [note, ""]


def _check_target(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / PACK_FILE).is_file():
        raise UserError(f"{out} exists and holds no pack; choose another folder")
    if not overwrite:
        raise UserError(f"{out} holds a pack already; give --overwrite to replace it")


def _flame_2020() -> "HeadModel | None":
    try:
        return load_head(FLAME_2020)
    except HeadError:
        return None
