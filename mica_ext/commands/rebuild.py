"""`mica-ext rebuild`: the mesh of a parameter file again."""

from mica_ext.commands.config import RebuildConfig
from mica_ext.commands.photo_run.outputs import check_writable
from mica_ext.errors import UserError, printable
from mica_ext.export.mesh_files import SUFFIXES, check_extras, check_format


def rebuild(config: RebuildConfig) -> None:
    """Write the mesh of `config.params` to `config.out`.

    Raises:
        UserError: if a file cannot be read or written, or the head is another than the file's.
    """
    if config.out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {config.out}: expected a name ending in {' '.join(SUFFIXES)}")
    check_format(config.out, config.unit)
    check_extras(config.out, texture=False, solid=config.solid)
    check_writable(config.out, overwrite=config.overwrite)
    from flame_assets.model.head_module import HeadDecoder
    from flame_assets.store import load_head
    from mica_ext.conversion.named_targets import targets_for_file
    from mica_ext.export.face_json import load_face, rebuild_mesh
    from mica_ext.export.face_mesh import save_mesh
    from mica_ext.models.pose import in_pose

    face = load_face(config.params)
    decoder = HeadDecoder(load_head(config.head or face.provenance.head.name))
    mesh = rebuild_mesh(face, decoder, config.pose)
    pose = config.pose or face.pose
    config.out.parent.mkdir(parents=True, exist_ok=True)
    named = targets_for_file(config.out, decoder, in_pose(face.parameters.head, pose))
    save_mesh(
        config.out,
        decoder,
        face.parameters,
        pose,
        mesh,
        config.unit,
        solid=config.solid,
        named=named,
    )
    print(printable(f"{config.params} -> {config.out}"))
