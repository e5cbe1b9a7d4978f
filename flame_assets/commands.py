"""What the `flame-assets` commands do and print."""

import logging
import os
import shlex
import subprocess
from pathlib import Path

from flame_assets import store
from flame_assets.config import (
    ConvertConfig,
    DownloadConfig,
    ExportSmplxConfig,
    GetConfig,
    ShowConfig,
    StatusConfig,
)
from flame_assets.errors import UserError

LOGGER = logging.getLogger(__name__)


def status(config: StatusConfig) -> None:
    """List heads and public files, what they are for and how to get them; files are checked."""
    print(f"home: {store.home()} (set PACOFR_HOME to move it)\n")
    print("HEADS: `reconstruct --head NAME`")
    _print_heads()
    print("\nOTHER PUBLIC FILES: no account needed")
    _print_assets()


def _print_heads() -> None:
    from flame_assets.heads_table import HEADS

    uses = {entry.name: entry.unlocks for entry in HEADS}
    heads = store.status()
    for head in heads:
        state = "intact" if head.intact else "DAMAGED: convert it again or delete the folder"
        print(f"{head.name} {head.version}  {head.bytes / 1e6:.1f} MB  {state}")
        if use := uses.get(head.name):
            print(f"  for:     {use}")
        print(f"  folder:  {head.folder}\n  sha256:  {head.sha256}\n  licence: {head.licence}")
        print(f"  next:    reconstruct photo.jpg --head {head.name} --out mesh.obj")
    here = {head.name for head in heads}
    for entry in HEADS:
        if entry.name not in here:
            print(f"{entry.name}  not here: {entry.command}")
            print(f"  for:     {entry.unlocks}\n  licence: {entry.licence}")


def _print_assets() -> None:
    from flame_assets.download.catalogue import asset_status

    for name, asset, path, present, intact in asset_status():
        damaged = "DAMAGED" if present else "not fetched"
        state = "intact" if intact else f"{damaged}: flame-assets get {name}"
        size = f"{asset.bytes / 1e6:.1f} MB  " if asset.bytes else ""
        print(f"{name}  {size}{state}")
        print(f"  for:     {asset.about}")
        print(f"  file:    {path}\n  check:   {asset.check}\n  licence: {asset.licence}")
        if asset.then:
            print(f"  next:    {asset.then.replace('FILE', str(path))}")


def show(config: ShowConfig) -> None:
    """Print what a head is made of."""
    head = store.load_head(config.head)
    size_mm = 1000 * (head.template.max(0) - head.template.min(0))
    print(f"{head.name} {head.version}\nlicence: {head.licence}")
    print(f"vertices: {head.vertices_count}, triangles: {len(head.triangles)}")
    print("template: {:.0f} x {:.0f} x {:.0f} mm (wide, high, deep)".format(*size_mm))
    print(f"modes: {head.shape_count} shape, {head.expression_count} expression")
    bounds = head.expression_bounds
    weights = "unit normal" if bounds is None else f"{bounds[0]} to {bounds[1]}"
    print(f"expression weights: {weights}, convention {head.expression_convention}")
    print(f"expressions: {', '.join(head.expression_names)}")
    print(f"regions: {', '.join(f'{k} {len(v)}' for k, v in sorted(head.regions.items())) or '-'}")


def get(config: GetConfig) -> None:
    """Fetch a public file, or an open head, and print where it lies and what uses it."""
    from flame_assets.download.catalogue import CATALOGUE, asset_path
    from flame_assets.download.public_files import fetch

    if config.name == "ict":
        _get_ict()
        return
    path = asset_path(config.name)
    asset = CATALOGUE[config.name]
    for name in asset.needs:
        fetch(CATALOGUE[name], asset_path(name))
    print(fetch(asset, path))
    print(f"licence: {asset.licence}")
    if asset.sha256 is None:
        print("checked by its content: its maker publishes no hash")
    if config.name == "gnm":
        from flame_assets.formats.gnm import convert_gnm

        print(f"gnm: {store.add_head(convert_gnm(path, asset_path('gnm-landmarks')))}")
    if asset.then:
        print(f"next: {asset.then.replace('FILE', str(path))}")


def _get_ict() -> None:
    from flame_assets.download.ict_facekit import fetch_ict
    from flame_assets.formats.ict import convert_ict

    folder = fetch_ict(store.home() / "assets" / "ict" / "FaceXModel")
    head = convert_ict(folder)
    print(f"ict: {store.add_head(head)}\nlicence: {head.licence}")
    print("checked by its content: its maker publishes no hashes")
    print("next: reconstruct photo.jpg --head ict --out mesh.obj")


def convert(config: ConvertConfig) -> None:
    """Convert model files and print where the heads lie."""
    if not config.files:
        raise UserError("expected a FLAME file: flame-assets convert generic_model.pkl")
    if config.name is not None and len(config.files) > 1:
        raise UserError(f"expected one file with --name, got {len(config.files)}")
    from flame_assets.formats.flame import convert_flame
    from flame_assets.formats.flame_files import LANDMARK_FILE
    from flame_assets.formats.open_heads import convert_open_head

    if config.name is not None:
        store.check_name(config.name)
    kept_landmarks = store.downloads_folder() / LANDMARK_FILE
    kept_masks = store.downloads_folder() / "FLAME_masks.zip"
    for file in config.files:
        near = config.landmarks or file.parent / LANDMARK_FILE
        head = convert_open_head(file, config.landmarks, config.name) or convert_flame(
            file,
            landmarks=near if config.landmarks or near.is_file() else _if_there(kept_landmarks),
            masks=config.masks or _if_there(kept_masks),
            name=config.name,
        )
        print(f"{head.name}: {store.add_head(head)}\nlicence: {head.licence}")


def download(config: DownloadConfig) -> None:
    """Download a release, then convert it or print the line that will."""
    from flame_assets.download import flame_archives
    from flame_assets.formats.flame_files import LANDMARK_FILE, LANDMARK_PLACES

    archive, folder = flame_archives.ARCHIVES[config.archive], store.downloads_folder()
    path = flame_archives.finished(archive, folder)
    if path is None:
        account = None if archive.url else flame_archives.ask_account()
        path = flame_archives.download(archive, folder, account)
    print(path)
    if config.archive == "flame-masks":
        return
    if (folder / LANDMARK_FILE).is_file():
        convert(ConvertConfig(files=(path,)))
        return
    words = ["flame-assets", "convert", str(path), "--landmarks", LANDMARK_FILE]
    print(f"next: {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}")
    print(f"{LANDMARK_FILE} is in {LANDMARK_PLACES}")


def export_smplx(config: ExportSmplxConfig) -> None:
    """Write a head for smplx and print the call that loads it."""
    from flame_assets.formats import smplx

    head = store.load_head(config.head)
    folder = smplx.export_smplx(head, config.folder)
    print(
        f'smplx.create({str(folder)!r}, model_type="flame", num_betas={head.shape_count}, '
        f"num_expression_coeffs={head.expression_count}, use_face_contour=True)"
    )
    if offset_mm := 1000 * smplx.lid_contact_offset(head):
        LOGGER.warning(
            "smplx has no lid contacts: while an eye closes, its lids differ from those of %s by "
            "up to %.2f mm at mean identity; all other vertices agree",
            head.name,
            offset_mm,
        )


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None
