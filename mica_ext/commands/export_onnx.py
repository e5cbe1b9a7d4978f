"""`mica-ext export-onnx`: the networks of a model pack as ONNX files, with a manifest."""

import json
import shutil
from pathlib import Path

from mica_ext.commands.config import ExportOnnxConfig
from mica_ext.errors import UserError, printable

FORMAT, VERSION = "mica-ext onnx", 1
MANIFEST, EXAMPLE = "manifest.json", "photo_to_points.py"


def export_onnx(config: ExportOnnxConfig) -> None:
    """Write the networks of `config.pack` into the new folder `config.out`.

    Raises:
        UserError: the pack or a network cannot be read, packages are missing, outputs differ, or
            the folder exists or cannot be written.
    """
    out = config.out
    if out.exists() and not config.overwrite:
        raise UserError(f"{out}: exists; give --overwrite to replace it, or another name")
    if out.exists() and not (out / MANIFEST).is_file():
        raise UserError(f"{out}: holds no {MANIFEST} of this command; give a new folder")
    from mica_ext.models.pack import load_pack
    from mica_ext.onnx_export.export import OPSET, export_graph, require_packages

    pack = load_pack(config.pack)
    require_packages()
    import mica_ext.onnx_export
    from flame_assets.files import write_folder
    from mica_ext.onnx_export.graphs import pack_graphs

    graphs = pack_graphs(pack)

    def fill(folder: Path) -> None:
        exported = []
        for graph in graphs:
            exported.append(export_graph(graph, folder))
            done = exported[-1]
            size = (folder / done.file).stat().st_size / 1e6
            print(printable(f"{done.file}: {size:.1f} MB, max difference {done.difference:.1e}"))
        content = {
            "format": FORMAT,
            "version": VERSION,
            "pack": pack.name,
            "opset": OPSET,
            "graphs": {Path(row.file).stem: row._asdict() for row in exported},
            "licence": pack.licence,
        }
        (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        shutil.copy(Path(mica_ext.onnx_export.__file__).with_name(EXAMPLE), folder / EXAMPLE)

    write_folder(out, fill)
    print(printable(f"{len(graphs)} networks of {pack.name}, opset {OPSET} -> {out}"))
    print(printable(f"without torch: python {out / EXAMPLE} PHOTO"))
