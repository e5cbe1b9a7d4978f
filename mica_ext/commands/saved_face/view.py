"""`mica-ext view`: the face of a parameter file in the browser, or in a window."""

from pathlib import Path
from typing import TYPE_CHECKING

from mica_ext.commands.config import ViewConfig
from mica_ext.commands.photo_run.outputs import check_writable, view_path
from mica_ext.errors import UserError, printable
from mica_ext.viewer.display import check_window, open_page

if TYPE_CHECKING:
    from flame_assets.model.head_module import HeadDecoder
    from mica_ext.export.face_json import SavedFace
    from mica_ext.reconstruction import RgbImage
    from mica_ext.render.textured import TexturedMesh


def view(config: ViewConfig) -> None:
    """Write the page of `config.params` and open it, or show the window.

    Raises:
        UserError: if a file cannot be read or written, the photo is not the file's, the head is
            missing or is no face, or there is no window.
    """
    is_file_name = config.params.suffix.lower() == ".json"  # no clip.json@1.5
    page = config.out or view_path(config.params.with_suffix("") if is_file_name else config.params)
    if config.window:
        if config.out is not None or config.no_open:
            raise UserError("--window writes no page: leave --out and --no-open out")
        check_window()
    elif page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {page}: expected a name ending in .html")
    else:
        check_writable(page, overwrite=config.overwrite or config.out is None)
    from mica_ext.commands.saved_face.reading import load_photo_of, load_saved_face
    from mica_ext.editing.pictures import texture_of
    from mica_ext.export.clip_json import is_clip
    from mica_ext.export.face_json import rebuild_mesh
    from mica_ext.export.surface import surface_of

    if is_clip(config.params):
        _save(config, page, _clip_page(config))
        return
    face, decoder, _ = load_saved_face(config.params, config.head)
    mesh = rebuild_mesh(face, decoder, config.pose)
    photo = texture = None
    if config.texture is not None:
        photo = load_photo_of(face, config.params, config.texture)
    if photo is not None and decoder.head.uv is not None:
        texture = texture_of(face, decoder, photo)
    if config.window:
        from mica_ext.viewer.window import show_window

        picture = None if texture is None else texture.picture
        show_window(surface_of(decoder.head, mesh.vertices[0].numpy(), picture), face.photo)
        return
    _save(config, page, _page(config, face, decoder, photo, texture, page))


def _save(config: ViewConfig, page: Path, content: bytes) -> None:
    from mica_ext.files import write_bytes_atomic

    page.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(page, content)
    opened = not config.no_open and open_page(page)
    print(printable(f"{config.params} -> {page}{'' if opened else ' (open it in a browser)'}"))


def _clip_page(config: ViewConfig) -> bytes:
    from flame_assets.model.head_module import HeadDecoder
    from flame_assets.store import load_head
    from mica_ext.export.clip_json import load_clip
    from mica_ext.export.face_json import require_head
    from mica_ext.viewer.clip_page import clip_scene
    from mica_ext.viewer.face_page import face_page

    for flag in ("texture", "pose", "window"):
        if getattr(config, flag):
            raise UserError(
                f"{config.params}: --{flag} goes with the parameters of a photo, these are a "
                "video's; leave it out"
            )
    clip = load_clip(config.params)
    head = load_head(config.head or clip.provenance.head.name)
    require_head(head, clip.provenance.head, clip.fingerprint, clip.parameters.head)
    return face_page(clip_scene(HeadDecoder(head), clip))


def _page(
    config: ViewConfig,
    face: "SavedFace",
    decoder: "HeadDecoder",
    photo: "RgbImage | None",
    texture: "TexturedMesh | None",
    page: Path,
) -> bytes:
    from mica_ext.conversion.named_targets import arkit_targets
    from mica_ext.models.pose import in_pose
    from mica_ext.viewer.face_page import face_page, face_scene, photo_view, provenance_notes

    straight = in_pose(face.parameters.head, "expressive")
    scene = face_scene(
        decoder,
        face.parameters,
        title=face.photo,
        pose=config.pose or face.pose,
        notes=provenance_notes(face.provenance, face.quality),
        named=arkit_targets(decoder, straight, page.name),
        texture=texture,
        photo=None if photo is None else photo_view(photo, face.parameters, face.box),
    )
    return face_page(scene)
