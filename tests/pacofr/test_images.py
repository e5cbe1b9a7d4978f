"""The image loader on every kind of file people bring."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from pacofr.errors import UserError
from pacofr.images import decode_image, list_images, load_image

RED, GREEN, BLUE, GREY = (200, 30, 20), (20, 180, 40), (30, 40, 210), (128, 128, 128)


def quarters(size=32) -> np.ndarray:
    """Red and green above, blue and grey below: shows turning, mirroring and colour order."""
    half = size // 2
    image = np.empty((size, size + 8, 3), np.uint8)
    image[:half, :half], image[:half, half:] = RED, GREEN
    image[half:, :half], image[half:, half:] = BLUE, GREY
    return image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def check_quarters(image: np.ndarray, tolerance: int) -> None:
    want = quarters()
    assert image.dtype == np.uint8
    assert image.shape == want.shape
    for y, x in ((4, 4), (4, 30), (28, 4), (28, 30)):
        assert np.abs(image[y, x].astype(int) - want[y, x]).max() <= tolerance


PLAIN = [
    ("JPEG", {"quality": 95, "subsampling": 0}, 6),
    ("PNG", {}, 0),
    ("WEBP", {"lossless": True}, 0),
    ("AVIF", {"quality": 95}, 12),
    ("GIF", {}, 3),
    ("BMP", {}, 0),
    ("TIFF", {}, 0),
    ("PPM", {}, 0),
    ("JPEG2000", {}, 4),
]


@pytest.mark.parametrize(("kind", "options", "tolerance"), PLAIN)
def test_usual_formats(kind, options, tolerance):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("missing: this Pillow has no AVIF")
    data = encoded(Image.fromarray(quarters()), kind, **options)
    check_quarters(decode_image(data, "photo"), tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_once(orientation, kind):
    upright = quarters()
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    exif = stored.getexif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    check_quarters(decode_image(encoded(stored, kind, exif=exif, **options), "photo"), 30)


def test_sixteen_bit_grey_keeps_its_tones():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(4, 0)
    for kind in ("PNG", "TIFF"):
        image = decode_image(encoded(Image.fromarray(ramp), kind), "scan")
        assert np.abs(image[0, :, 0] - ramp[0] / 257).max() <= 0.5
        assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("full", [1.0, 255.0, 65535.0])
def test_float_tiff_of_one_channel(full):
    values = np.linspace(0, full, 50, dtype=np.float32)[None].repeat(3, 0)
    image = decode_image(encoded(Image.fromarray(values), "TIFF"), "render")
    assert np.abs(image[0, :, 1] - values[0] * 255 / full).max() <= 0.51


def test_float_tiff_of_three_channels():
    want = quarters().astype(np.float32) / 255
    want[0, -1] = 1.0
    ok, data = cv2.imencode(".tif", want[..., ::-1])
    assert ok
    check_quarters(decode_image(data.tobytes(), "render"), 1)


def test_float_tiff_with_odd_values_is_stretched():
    values = np.array([[-10.0, np.nan, 90000.0]], np.float32)
    image = decode_image(encoded(Image.fromarray(values), "TIFF"), "depth")
    assert image[0, 0, 0] == 0
    assert image[0, 2, 0] == 255


def test_transparency_is_laid_on_white():
    rgba = np.dstack([quarters(), np.full(quarters().shape[:2], 255, np.uint8)])
    rgba[:16, :, 3] = 0
    rgba[28, 4, 3] = 128
    image = decode_image(encoded(Image.fromarray(rgba), "PNG"), "logo")
    assert (image[:16] == 255).all()
    assert np.abs(image[20, 4].astype(int) - BLUE).max() == 0
    assert np.abs(image[28, 4] - (np.array(BLUE) / 2 + 127.5)).max() <= 2


def test_palettes_bits_and_grey_with_alpha():
    colour = Image.fromarray(quarters())
    check_quarters(decode_image(encoded(colour.quantize(8), "PNG"), "p"), 4)
    palette = colour.quantize(8)
    transparent = encoded(palette, "PNG", transparency=palette.getpixel((4, 4)))
    assert (decode_image(transparent, "p")[4, 4] == 255).all()
    bits = Image.fromarray(np.eye(32, dtype=bool))
    image = decode_image(encoded(bits, "PNG"), "bits")
    assert image[3, 3, 0] == 255
    assert image[3, 4, 0] == 0
    grey_alpha = Image.merge("LA", [Image.new("L", (9, 9), 60), Image.new("L", (9, 9), 255)])
    assert (decode_image(encoded(grey_alpha, "PNG"), "la") == 60).all()


def test_cmyk_jpeg():
    cmyk = Image.fromarray(quarters()).convert("CMYK")
    data = encoded(cmyk, "JPEG", quality=95)
    check_quarters(decode_image(data, "print"), 12)


def test_first_frame_of_an_animation():
    frames = [Image.fromarray(quarters()), Image.new("RGB", (40, 32), (9, 9, 9))]
    for kind in ("GIF", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        check_quarters(decode_image(data, "moving"), 4)


def swapped_profile() -> bytes:
    """An RGB profile whose red and green colorants are exchanged: easy to see when applied."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    places = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


def test_colour_profile_is_applied():
    pixels = np.full((8, 8, 3), (220, 60, 60), np.uint8)
    data = encoded(Image.fromarray(pixels), "PNG", icc_profile=swapped_profile())
    red, green, _ = decode_image(data, "wide")[4, 4]
    assert green > 200
    assert red < 100


@pytest.mark.parametrize("profile", [b"rubbish", swapped_profile()[:300]])
def test_a_damaged_profile_counts_as_none(profile):
    data = encoded(Image.fromarray(quarters()), "PNG", icc_profile=profile)
    check_quarters(decode_image(data, "photo"), 0)


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(11_000, 11_000), (20_000, 20_000), (32_767, 60), (60, 40_000)]
)
def test_a_bomb_or_a_strip_is_refused_by_its_header(width, height):
    with pytest.raises(UserError, match="at most 120 million and no side above 32766"):
        decode_image(bomb(width, height), "bomb.png")


def test_a_float_tiff_bomb_is_refused_by_its_header():
    ok, data = cv2.imencode(".tif", np.zeros((4, 4, 3), np.float32))
    data = data.tobytes()
    directory = struct.unpack("<I", data[4:8])[0]
    for i in range(struct.unpack("<H", data[directory : directory + 2])[0]):
        at = directory + 2 + 12 * i
        if struct.unpack("<H", data[at : at + 2])[0] in (256, 257):
            data = data[: at + 2] + struct.pack("<HII", 4, 1, 30_000) + data[at + 12 :]
    with pytest.raises(UserError, match="30000 x 30000 pixels"):
        decode_image(data, "bomb.tif")


def test_heic_without_its_package_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UserError, match="pip install pillow-heif"):
        decode_image(b"\0\0\0\x18ftypheic" + b"\0" * 40, "IMG_0001.HEIC")


def test_paths_that_are_no_image(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "notes.jpg").write_text("shopping list")
    whole = encoded(Image.fromarray(quarters(256)), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name, words in {
        "absent.jpg": "does not exist",
        "empty.jpg": "empty",
        "notes.jpg": "not an image",
        "cut.jpg": "cut short",
        ".": "is a folder",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            load_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_folder_listing(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "c.txt", "deep/d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["a.png", "b.JPG"]
    assert [p.name for p in list_images(tmp_path, recursive=True)] == ["a.png", "b.JPG", "d.webp"]
    with pytest.raises(UserError, match="not a folder"):
        list_images(tmp_path / "a.png")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        list_images(tmp_path / "none")


WHOLE = {
    kind: encoded(Image.fromarray(quarters()), kind, **options)
    for kind, options, _ in PLAIN
    if kind != "AVIF" or features.check("avif")
}


def outcome(data: bytes) -> None:
    line, image = "", np.zeros((1, 1, 3), np.uint8)
    try:
        image = decode_image(data, "hostile")
    except UserError as error:
        line = str(error)
    assert "\n" not in line
    assert line.startswith("hostile ") or not line
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@RELAXED
@given(st.binary(max_size=300))
def test_random_bytes_give_an_image_or_one_line(data):
    outcome(data)


@RELAXED
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1))
def test_files_cut_short_give_an_image_or_one_line(kind, share):
    outcome(WHOLE[kind][: int(share * len(WHOLE[kind]))])


@RELAXED
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_files_give_an_image_or_one_line(kind, changes):
    data = bytearray(WHOLE[kind])
    for share, value in changes:
        data[min(int(share * len(data)), len(data) - 1)] = value
    outcome(bytes(data))
