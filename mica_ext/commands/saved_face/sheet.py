"""`mica-ext sheet`: one face under twelve expressions."""

from mica_ext.commands.config import SheetConfig
from mica_ext.commands.photo_run.outputs import check_writable
from mica_ext.errors import UserError, printable

PICTURES = (".png", ".jpg", ".jpeg")
MIN_SIZE, MAX_SIZE = 64, 2048


def sheet(config: SheetConfig) -> None:
    """Write the picture `config.out`.

    Raises:
        UserError: if a file cannot be read or written, the head is missing or is no face, or the
            photo that is asked for is not at hand.
    """
    if config.out.suffix.lower() not in PICTURES:
        raise UserError(f"--out {config.out}: expected a name ending in {' '.join(PICTURES)}")
    if not MIN_SIZE <= config.size <= MAX_SIZE:
        raise UserError(f"--size {config.size}: expected {MIN_SIZE} to {MAX_SIZE} pixels")
    check_writable(config.out, overwrite=config.overwrite)
    from mica_ext.commands.saved_face.reading import load_photo_of, load_saved_face, require_photo
    from mica_ext.editing.pictures import expression_sheet, texture_of
    from mica_ext.render.pictures import save_picture

    face, decoder, carried = load_saved_face(config.params, config.head)
    texture = None
    if config.style != "clay":
        image = load_photo_of(face, config.params, config.photo)
        if config.style == "textured":
            image = require_photo(image, face, "--style textured")
        if image is not None and (config.style == "textured" or decoder.head.uv is not None):
            texture = texture_of(face, decoder, image)
    picture = expression_sheet(face.parameters.head, decoder, texture, config.size)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    save_picture(config.out, picture)
    note = f" ({carried})" if carried else ""
    kind = "clay" if texture is None else "textured"
    print(printable(f"{config.params} -> {config.out}: twelve expressions, {kind}{note}"))
