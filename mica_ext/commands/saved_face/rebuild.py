"""`mica-ext rebuild`: the mesh of a parameter file again, as it was or edited."""

from typing import TYPE_CHECKING

from mica_ext.commands.config import RebuildConfig
from mica_ext.commands.photo_run.outputs import Outputs, check_writable, path_key
from mica_ext.commands.photo_run.staging import staged_files
from mica_ext.errors import UserError, printable
from mica_ext.export.mesh_files import SUFFIXES, check_extras, check_format

if TYPE_CHECKING:
    from flame_assets.model.head_module import HeadParameters
    from mica_ext.commands.saved_face.reading import LoadedFace

PICTURES = (".png", ".jpg", ".jpeg")
MAX_SCALE = 3.0


def rebuild(config: RebuildConfig) -> None:
    """Write the mesh of `config.params` to `config.out`, and the other files that are asked for.

    Raises:
        UserError: if a file cannot be read or written, an edit makes no sense, or the head is
            another of the same name.
    """
    files = _outputs(config)
    from mica_ext.commands.saved_face.reading import load_photo_of, load_saved_face, require_photo
    from mica_ext.conversion.named_targets import targets_for_file
    from mica_ext.editing.expression import parse_weights
    from mica_ext.editing.pictures import overlay_of, texture_of
    from mica_ext.export.face_json import rebuild_mesh, save_face
    from mica_ext.export.face_mesh import save_mesh
    from mica_ext.models.pose import in_pose
    from mica_ext.render.pictures import save_picture

    weights = parse_weights(config.weights)
    base = load_saved_face(config.params, config.head)
    decoder = base.decoder
    image = load_photo_of(base.face, config.params, config.photo)
    face = base.face._replace(pose=config.pose or base.face.pose)
    face = face._replace(parameters=face.parameters._replace(head=_edited(config, weights, base)))
    texture = None
    if option := _needs_texture(config):
        texture = texture_of(base.face, decoder, require_photo(image, face, option))
    parameters = face.parameters
    for path in files.paths():
        path.parent.mkdir(parents=True, exist_ok=True)
    with staged_files(files.paths()) as staged:
        out = files.staged(staged)
        if out.params is not None:
            save_face(out.params, face)
        if out.overlay is not None:
            photo = require_photo(image, face, "--overlay")
            picture = overlay_of(face, decoder, photo, config.overlay_style, texture)
            save_picture(out.overlay, picture)
        if out.mesh is not None:
            save_mesh(
                out.mesh,
                decoder,
                parameters,
                face.pose,
                rebuild_mesh(face, decoder),
                config.unit,
                texture=texture if config.texture or out.mesh.suffix.lower() == ".glb" else None,
                solid=config.solid,
                named=targets_for_file(out.mesh, decoder, in_pose(parameters.head, face.pose)),
            )
    note = f" ({base.carried})" if base.carried else ""
    print(printable(f"{config.params} -> {', '.join(map(str, files.paths()))}{note}"))


def _edited(
    config: RebuildConfig, weights: "dict[str, float]", base: "LoadedFace"
) -> "HeadParameters":
    """The face's parameters with the expression that is asked for."""
    from mica_ext.commands.saved_face.reading import load_other_face
    from mica_ext.editing.expression import ExpressionEditor
    from mica_ext.editing.other_head import with_expression_of

    head = base.face.parameters.head
    if config.expression_from is not None:
        other = load_other_face(config.expression_from, base)
        head = with_expression_of(head, base.decoder, other.face, other.decoder)
    if weights or config.expression_scale != 1:
        editor = ExpressionEditor(base.decoder.head)
        head = editor.changed(editor.scaled(head, config.expression_scale), weights)
    return head


def _needs_texture(config: RebuildConfig) -> str:
    """The option that needs the photo as a texture, or nothing."""
    if config.texture:
        return "--texture"
    if config.overlay is not None and config.overlay_style == "textured":
        return "--overlay-style textured"
    if config.photo is not None and config.out.suffix.lower() == ".glb":
        return "--photo"
    return ""


def _outputs(config: RebuildConfig) -> Outputs:
    """The files to write.

    Raises:
        UserError: one cannot be written, or options exclude each other.
    """
    if config.out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {config.out}: expected a name ending in {' '.join(SUFFIXES)}")
    if config.overlay is not None and config.overlay.suffix.lower() not in PICTURES:
        raise UserError(
            f"--overlay {config.overlay}: expected a name ending in {' '.join(PICTURES)}"
        )
    if not 0 <= config.expression_scale <= MAX_SCALE:  # not a number neither
        raise UserError(
            f"--expression-scale {config.expression_scale}: expected a factor from 0 to "
            f"{MAX_SCALE:g}"
        )
    check_format(config.out, config.unit)
    check_extras(config.out, texture=config.texture, solid=config.solid)
    files = Outputs(config.out, config.write_params, None, config.overlay)
    if config.texture:
        files = files.with_texture()
    if len({path_key(path) for path in files.paths()}) < len(files.paths()):
        raise UserError("two of the files to write are the same; give them different names")
    for path in files.paths():
        check_writable(path, overwrite=config.overwrite)
    return files
