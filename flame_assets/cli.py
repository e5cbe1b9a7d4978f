"""Command line of the head store: `flame-assets status | get | convert | download | ...`.

Imports nothing heavy: `--help` answers at once, each command imports what it needs.
"""

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

import tyro

from flame_assets.errors import UserError, run_command

app = tyro.extras.SubcommandApp()
Names = Literal["flame2020", "flame2023", "flame2023-open", "flame2019", "flame-masks"]


def main() -> None:
    """Entry point; exit code 2 for anything the user can mend."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    sys.exit(
        run_command(lambda: app.cli(prog="flame-assets", description="Head models for 3D faces."))
    )


@app.command
def status() -> None:
    """List the heads and public files on this machine and whether they are intact."""
    from flame_assets import store
    from flame_assets.catalogue import asset_status

    print(f"home: {store.home()} (set PACOFR_HOME to move it)")
    heads = store.status()
    for head in heads:
        state = "intact" if head.intact else "DAMAGED: convert it again or delete the folder"
        print(f"{head.name} {head.version}  {head.bytes / 1e6:.1f} MB  {state}")
        print(f"  folder:  {head.folder}\n  sha256:  {head.sha256}\n  licence: {head.licence}")
    if not heads:
        print("no heads yet; `anthro` needs no licence and is built when first used")
    for name, asset, path, present, intact in asset_status():
        damaged = "DAMAGED" if present else "not fetched"
        state = "intact" if intact else f"{damaged}: flame-assets get {name}"
        print(f"{name}  {asset.bytes / 1e6:.1f} MB  {state}\n  {asset.about}")
        print(f"  file:    {path}\n  sha256:  {asset.sha256}\n  licence: {asset.licence}")


@app.command
def get(name: tyro.conf.Positional[str]) -> None:
    """Fetch a public file of other people into the store; no account is needed.

    An interrupted fetch goes on when the command is run again.

    Args:
        name: face-mesh, ...; `flame-assets status` lists them all.
    """
    from flame_assets.catalogue import CATALOGUE, asset_path
    from flame_assets.fetch import fetch

    path = asset_path(name)
    print(fetch(CATALOGUE[name], path))
    print(f"licence: {CATALOGUE[name].licence}")


@app.command
def convert(
    files: tyro.conf.Positional[tuple[Path, ...]],
    landmarks: Path | None = None,
    masks: Path | None = None,
    name: str | None = None,
) -> None:
    """Convert FLAME's licensed files (.pkl, .npz, .zip) to heads and keep them in the store.

    Args:
        files: model files: generic_model.pkl, FLAME2020.zip, flame2023_Open.pkl, ...
        landmarks: landmark_embedding.npy (in the repositories of MICA, DECA and SMIRK);
            by default the one beside each model file, or in the store's downloads.
        masks: FLAME_masks.pkl or .zip, for regions; by default the store's download.
        name: the head's name in the store; by default from the file, e.g. flame2020-generic.
    """
    if not files:
        raise UserError("expected a FLAME file: flame-assets convert generic_model.pkl")
    if name is not None and len(files) > 1:
        raise UserError(f"expected one file with --name, got {len(files)}")
    from flame_assets import store
    from flame_assets.formats.flame import LANDMARK_FILE, convert_flame

    if name is not None:
        store.check_name(name)
    kept_landmarks = store.downloads_folder() / LANDMARK_FILE
    kept_masks = store.downloads_folder() / "FLAME_masks.zip"
    for file in files:
        near = landmarks or file.parent / LANDMARK_FILE
        head = convert_flame(
            file,
            landmarks=near if landmarks or near.is_file() else _if_there(kept_landmarks),
            masks=masks or _if_there(kept_masks),
            name=name,
        )
        print(f"{head.name}: {store.add_head(head)}\nlicence: {head.licence}")


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


@app.command
def download(archive: tyro.conf.Positional[Names]) -> None:
    """Download a FLAME release with your account at flame.is.tue.mpg.de, then convert it.

    The account is asked for, or taken from FLAME_USERNAME and FLAME_PASSWORD. An interrupted
    download goes on when the command is run again. The landmarks are no part of the release:
    without landmark_embedding.npy the command ends by saying what to run next.

    Args:
        archive: which release; flame-masks (vertex regions) needs no account.
    """
    from flame_assets import store
    from flame_assets.download import ARCHIVES, ask_account, finished
    from flame_assets.download import download as fetch
    from flame_assets.formats.flame import LANDMARK_FILE, LANDMARK_PLACES

    wanted, folder = ARCHIVES[archive], store.downloads_folder()
    path = finished(wanted, folder)
    if path is None:
        path = fetch(wanted, folder, None if wanted.url else ask_account())
    print(path)
    if archive == "flame-masks":
        return
    if (folder / LANDMARK_FILE).is_file():
        convert((path,))
        return
    words = ["flame-assets", "convert", str(path), "--landmarks", LANDMARK_FILE]
    print(f"next: {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}")
    print(f"{LANDMARK_FILE} is in {LANDMARK_PLACES}")


@app.command
def export_smplx(head: tyro.conf.Positional[str], folder: tyro.conf.Positional[Path]) -> None:
    """Write a head, Anthro too, as a folder for smplx.create(folder, model_type="flame").

    Args:
        head: auto, anthro, flame2020, ... or a head folder.
        folder: where `flame/FLAME_NEUTRAL.pkl` and the landmark files go.
    """
    from flame_assets import store
    from flame_assets.formats.smplx import export_smplx

    model = store.load_head(head)
    print(
        f'smplx.create({str(export_smplx(model, folder))!r}, model_type="flame", '
        f"num_betas={model.shape_count}, num_expression_coeffs={model.expression_count}, "
        "use_face_contour=True)"
    )


@app.command
def show(head: tyro.conf.Positional[str] = "auto") -> None:
    """Print a head's sizes, expressions, regions and licence.

    Args:
        head: auto, anthro, flame2020, ... or a head folder.
    """
    from flame_assets import store

    model = store.load_head(head)
    size_mm = 1000 * (model.template.max(0) - model.template.min(0))
    print(f"{model.name} {model.version}\nlicence: {model.licence}")
    print(f"vertices: {model.vertices_count}, triangles: {len(model.triangles)}")
    print("template: {:.0f} x {:.0f} x {:.0f} mm (wide, high, deep)".format(*size_mm))
    print(f"modes: {model.shape_count} shape, {model.expression_count} expression")
    bounds = model.expression_bounds
    print(
        f"expression weights: {'unit normal' if bounds is None else f'{bounds[0]} to {bounds[1]}'}"
    )
    print(f"expressions: {', '.join(model.expression_names)}")
    print(f"regions: {', '.join(f'{k} {len(v)}' for k, v in sorted(model.regions.items())) or '-'}")
