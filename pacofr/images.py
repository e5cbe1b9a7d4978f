"""The one safe image loader: what a person calls a photo becomes RGB uint8, or one clear line.

Order of work: open (headers only) -> size check -> decode the first frame -> turn as EXIF says ->
16-bit and float to 8 bits -> colour profile to sRGB -> transparency onto white -> RGB.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from pacofr.errors import UserError

ByteStream = io.BytesIO | io.BufferedReader

PIXELS_MAX = 120_000_000
"""Above the largest common phone photo, 12,000 x 9,000; decoding takes 3 to 6 bytes each."""
SIDE_MAX = 32_766
"""OpenCV cuts nothing out of an image with a longer side."""
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".heic", ".heif"),
)
"""Suffixes that `list_images` takes for images; `load_image` looks at the content alone."""
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def load_image(path: Path | str) -> UInt8[np.ndarray, "H W 3"]:
    """Read a photo as RGB, upright, sRGB; `UserError` with one line on anything that is none."""
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: expected an image file")
        if not path.exists():
            raise UserError(f"{path} does not exist: expected an image file; check the path")
        if not path.is_file():
            raise UserError(f"{path} is no regular file: expected an image file")
        with path.open("rb") as stream:
            return _load(stream, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """As `load_image`, for a file's bytes; `name` stands in the error line."""
    return _load(io.BytesIO(data), name)


def list_images(folder: Path | str, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder by suffix, sorted; hidden ones are left out."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: expected a folder of images")
    files = folder.rglob("*") if recursive else folder.iterdir()
    images = sorted(
        path
        for path in files
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not images:
        raise UserError(f"{folder} holds no image: expected files such as .jpg, .png or .webp")
    return images


def _load(stream: ByteStream, name: str) -> UInt8[np.ndarray, "H W 3"]:
    head = stream.read(32)
    stream.seek(0)
    if not head:
        raise UserError(f"{name} is empty (0 bytes): expected an image file; copy it again")
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        _register_heif(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's, on sizes and on damaged metadata
            return _decode(stream, head, name)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, "more than 179 million") from error
    except UnidentifiedImageError as error:
        raise UserError(
            f"{name} is not an image: expected JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or HEIC"
        ) from error
    except MemoryError as error:
        raise UserError(f"{name} needs more memory than there is: make it smaller") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{name} is damaged or cut short ({reason}): expected a whole image; copy it again"
        ) from error


def _decode(stream: ByteStream, head: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    try:
        image = Image.open(stream, formats=_formats())
    except UnidentifiedImageError:
        if head[:4] not in (b"II*\0", b"MM\0*"):
            raise
        return _float_colour_tiff(stream, name)
    _refuse_too_large(name, image.width, image.height)
    image.load()
    profile = image.info.get("icc_profile")
    image = _upright(image)
    if image.mode.startswith(("I", "F")):
        return np.repeat(_eight_bits(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        colours = _to_srgb(image.convert("RGB"), profile)
        flat = Image.new("RGB", image.size, (255, 255, 255))
        flat.paste(colours, mask=image.getchannel("A"))
        return np.array(flat)
    if image.mode == "P":
        image = image.convert("RGB")
    return np.array(_to_srgb(image, profile))


def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in (*FORMATS, "HEIF") if name in Image.OPEN)


def _refuse_too_large(name: str, width: int, height: int) -> None:
    if width * height > PIXELS_MAX or max(width, height) > SIDE_MAX:
        raise _too_large(name, f"{width} x {height}")


def _too_large(name: str, size: str) -> UserError:
    return UserError(
        f"{name} has {size} pixels: expected at most {PIXELS_MAX // 1_000_000} million and no "
        f"side above {SIDE_MAX}; make it smaller"
    )


def _register_heif(name: str) -> None:
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"{name} is a HEIC image, which needs one more package; run: pip install pillow-heif"
        ) from error
    pillow_heif.register_heif_opener()


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the EXIF orientation says; damaged EXIF counts as none."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the metadata of strangers' photos fails in many ways
        return image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB; a profile that is damaged or meant for another kind of image counts as none."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if (ImageCms.getProfileDescription(source) or "").startswith("sRGB"):
                return image.convert("RGB")
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image.convert("RGB")


def _eight_bits(values: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Integers of 16 and more bits, or floats, as 0..255.

    The full scale is the least of 1 (floats only), 255 (floats only) and 65535 that holds all
    values; negative or larger values are stretched from their minimum to their maximum.
    """
    if np.issubdtype(values.dtype, np.integer):
        scales = (65535.0,)
    else:
        scales = (1.0, 255.0, 65535.0)
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    full = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if full is None:
        values, full = values - low, max(high - low, 1e-12)
    return np.rint(values * np.float32(255 / full)).astype(np.uint8)


def _float_colour_tiff(stream: ByteStream, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """TIFF with several float channels, which Pillow does not know; OpenCV does."""
    import cv2

    stream.seek(0)
    tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
    stream.seek(tags.next or 0)
    tags.load(stream)
    width, height = int(tags.get(256, 0)), int(tags.get(257, 0))
    _refuse_too_large(name, width, height)
    stream.seek(0)
    buffer = np.frombuffer(stream.read(), np.uint8)
    decoded = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED) if width and height else None
    if decoded is None:
        raise UnidentifiedImageError
    if decoded.ndim == 2:
        return np.repeat(_eight_bits(decoded)[..., None], 3, axis=2)
    colours = _eight_bits(decoded[..., 2::-1])
    if decoded.shape[2] == 4:
        alpha = np.clip(decoded[..., 3:].astype(np.float32), 0, 1)
        colours = np.rint(colours * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(colours)
