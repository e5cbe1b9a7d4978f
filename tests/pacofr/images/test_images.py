"""The image loader on every kind of file people bring."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from pacofr.errors import UserError
from pacofr.images import decode_image, list_images, load_image, scan_folder

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


def chunk(kind: bytes, body: bytes, damage: int = 0) -> bytes:
    checksum = zlib.crc32(kind + body) ^ damage
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def bomb(width: int, height: int) -> bytes:
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


def with_chunks(*chunks: bytes) -> bytes:
    """A valid PNG of the quarters with these chunks behind its header."""
    data = encoded(Image.fromarray(quarters()), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def test_large_metadata_of_a_png_costs_no_photo():
    text = b"Comment\0\0" + zlib.compress(bytes(5_000_000))
    noise = np.random.default_rng(0).bytes(2_000_000)
    profile = b"x\0\0" + zlib.compress(swapped_profile() + noise)
    endless = b"x\0\0" + zlib.compress(bytes(100_000_000))
    for chunks in (
        [chunk(b"zTXt", text)],
        [chunk(b"tEXt", b"Comment\0" + bytes(2_000_000))],
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(5_000_000)))],
        [chunk(b"iCCP", endless)],
        [chunk(b"iCCP", b"x\0\0no zlib stream")],
        [chunk(b"tEXt", b"Comment\0hello", damage=1), chunk(b"gAMA", b"\0\0\xb1\x8f", damage=1)],
        [chunk(b"eXIf", b"II*\0 not intact", damage=1)],
        [chunk(b"teXt", b"a chunk of one's own")] * 3,
    ):
        check_quarters(decode_image(with_chunks(*chunks), "photo"), 0)
    red, green, _ = decode_image(with_chunks(chunk(b"iCCP", profile)), "photo")[20, 30]
    assert red == green == pytest.approx(128, abs=3)
    swapped = decode_image(with_chunks(chunk(b"iCCP", profile)), "photo")[4, 4]
    assert swapped[1] > swapped[0]  # a profile of 2 MB is applied, too


def test_the_orientation_of_a_png_is_kept_wherever_it_stands():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    turned = decode_image(with_chunks(chunk(b"iTXt", text)), "photo")
    check_quarters(turned[::-1, ::-1], 0)


def test_damage_of_a_png_that_matters_is_said():
    data = bytearray(encoded(Image.fromarray(quarters()), "PNG"))
    at = data.index(b"IDAT") + 10
    data[at] ^= 255
    with pytest.raises(UserError, match="photo is damaged"):
        decode_image(bytes(data), "photo")


def tiff(values: np.ndarray, **tags: int) -> bytes:
    """A grey TIFF with these tags, named by their numbers after an underscore."""
    info = {int(name.lstrip("_")): value for name, value in tags.items()}
    return encoded(Image.fromarray(values), "TIFF", tiffinfo=info)


RAMP = np.linspace(0, 1, 64)[None].repeat(4, 0)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_10_and_12_bits_in_16_keep_their_tones(bits):
    full = 2**bits - 1
    grey = np.rint(RAMP * full).astype(np.uint16)
    for data in (tiff(grey), encoded(Image.fromarray(grey), "PNG")):
        image = decode_image(data, "scan")
        assert np.abs(image[..., 0] - 255 * RAMP).max() <= 0.6
    colour = np.stack([grey, grey // 2, grey // 4], -1)
    want = 255 * RAMP[..., None] * [0.25, 0.5, 1]  # OpenCV writes BGR
    for suffix in (".png", ".tif"):
        data = cv2.imencode(suffix, colour)[1].tobytes()
        image = decode_image(data, "scan")
        assert np.abs(image - want).max() <= 1.1


def test_white_is_zero_and_the_largest_value_are_obeyed():
    grey = np.rint(RAMP * 65535).astype(np.uint16)
    image = decode_image(tiff(grey, _262=0), "film")
    assert np.abs(image[..., 0] - 255 * (1 - RAMP)).max() <= 0.6
    image = decode_image(tiff(np.rint(RAMP * 20000).astype(np.uint16), _281=20000), "scan")
    assert np.abs(image[..., 0] - 255 * RAMP).max() <= 0.6
    image = decode_image(tiff(grey, _281=20000), "the value is too small")
    assert np.abs(image[..., 0] - 255 * RAMP).max() <= 0.6
    inverted = decode_image(tiff(np.rint(RAMP * 4095).astype(np.uint16), _262=0, _281=4095), "f")
    assert np.abs(inverted[..., 0] - 255 * (1 - RAMP)).max() <= 0.6


def test_deep_colour_with_transparency_lies_on_white():
    pixels = np.full((8, 9, 4), 2000, np.uint16)
    pixels[:4, :, 3], pixels[4:, :, 3] = 0, 65535
    pixels[4:, 0, :3] = 4095
    image = decode_image(cv2.imencode(".png", pixels)[1].tobytes(), "render")
    assert (image[:4] == 255).all()
    assert np.abs(image[4:, 1:].astype(int) - 2000 / 4095 * 255).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_strips_of_large_pictures_join(kind):
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (31, 23, 3), np.uint8)
    whole = cv2.resize(small, (2300, 3100), interpolation=cv2.INTER_NEAREST)  # two strips
    image = decode_image(encoded(Image.fromarray(whole), kind, quality=95), "photo")
    assert np.abs(image.astype(int) - whole)[50::100, 50::100].max() <= 3


def mp4(major: bytes, *brands: bytes) -> bytes:
    body = major + bytes(4) + b"".join(brands)
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + bytes(100)


STRANGERS = {
    "a video: .*ffmpeg": [
        mp4(b"isom", b"isom", b"mp42"),
        mp4(b"qt  "),
        mp4(b"3gp5", b"isom"),
        b"\0\0\0\x08wide" + bytes(99),
        b"RIFF\0\0\0\0AVI LIST" + bytes(99),
        b"\x1a\x45\xdf\xa3" + bytes(99),
        (b"G" + bytes(187)) * 4,
    ],
    "a camera's raw file: .*develop": [
        b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
        b"FUJIFILMCCD-RAW 0201" + bytes(99),
        b"IIRO\x08\0" + bytes(99),
        mp4(b"crx ", b"crx ", b"isom"),
    ],
    "a web page": [b"<!DOCTYPE html><html>", b"\xef\xbb\xbf\n<html lang='en'>"],
    "a Git LFS pointer.*git lfs pull": [b"version https://git-lfs.github.com/spec/v1\noid"],
    "a PDF file": [b"%PDF-1.7\n"],
    "an SVG drawing": [b"<?xml version='1.0'?>\n<svg>"],
    "a JPEG XL image": [b"\xff\x0a" + bytes(50)],
    "a Photoshop file": [b"8BPS\0\1" + bytes(50)],
    "a ZIP archive": [b"PK\3\4" + bytes(50)],
    "not an image": [b"shopping list", bytes(100), b"RIFF    WAVE"],
}


@pytest.mark.parametrize("words", STRANGERS)
def test_files_that_are_no_photo_are_named_for_what_they_are(words):
    for data in STRANGERS[words]:
        with pytest.raises(UserError, match=f"^photo is {words}") as caught:
            decode_image(data, "photo")
        assert "\n" not in str(caught.value)


def with_tags(data: bytes, *tags: tuple[int, int, int]) -> bytes:
    """A little-endian TIFF with more (tag, type, value) in its directory, moved to the end."""
    at = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[at : at + 2])[0]
    entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    entries += [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags]
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2])[0])
    end = len(data) + len(data) % 2
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", end) + data[8:].ljust(end - 8, b"\0") + directory


@pytest.mark.parametrize(
    "tag", [(254, 4, 1), (50706, 1, 0x0401), (254, 4, 5)], ids=["reduced", "DNG", "reduced mask"]
)
def test_a_raw_files_thumbnail_is_not_taken_for_the_photo(tag):
    plain = encoded(Image.fromarray(quarters()), "TIFF")
    check_quarters(decode_image(with_tags(plain), "scan"), 0)
    with pytest.raises(UserError, match="raw file.*save it as JPEG, PNG or TIFF"):
        decode_image(with_tags(plain, tag), "photo.dng")


def test_avif_is_told_by_its_compatible_brands():
    if not features.check("avif"):
        pytest.skip("missing: this Pillow has no AVIF")
    data = encoded(Image.fromarray(quarters()), "AVIF", quality=95)
    assert data[8:12] == b"avif"
    check_quarters(decode_image(data[:8] + b"mif1" + data[12:], "photo"), 12)


def progressive(scans: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    data = encoded(Image.fromarray(quarters()), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (scans - data.count(b"\xff\xda") + 1) + data[-2:]


def test_scans_of_a_progressive_jpeg_are_bounded():
    plain = encoded(Image.fromarray(quarters()), "JPEG", progressive=True)
    check_quarters(decode_image(plain, "photo"), 40)
    with pytest.raises(UserError, match="progressive JPEG of too many scans"):
        decode_image(progressive(300), "bomb.jpg")
    thumbnails = b"\xff\xe2" + struct.pack(">H", 60_002) + b"\xff\xda" * 30_000
    check_quarters(decode_image(plain[:2] + thumbnails + plain[2:], "photo"), 40)


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


def test_what_is_no_file_is_said_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    for path, words in {
        tmp_path / "fifo.jpg": "is a FIFO: expected a regular file",
        Path("/dev/zero"): "is a device",
        Path("https://example.org/a"): "https://example.org/a is a web address: expected a",
        "http://example.org/a.jpg": "http://example.org/a.jpg is a web address",
        "a\0b.jpg": "cannot be read",
        "x" * 5000: "cannot be read",
    }.items():
        with pytest.raises(UserError, match=words):
            load_image(path)
    (tmp_path / "endless.jpg").touch()
    os.truncate(tmp_path / "endless.jpg", 2**40)
    with pytest.raises(UserError, match="expected at most"):
        load_image(tmp_path / "endless.jpg")


DAMAGED_COLOUR = cv2.imencode(".tif", np.zeros((40, 40, 3), np.float32))[1].tobytes()[:700]


def test_the_libraries_under_the_loader_print_nothing(tmp_path):
    """OpenCV, libtiff, libpng and Pillow write to standard error on damaged files."""
    random = np.random.default_rng(0)
    files = {"float.tif": DAMAGED_COLOUR, "odd.jpg": WHOLE["JPEG"][:-90] + bytes(90)}
    for kind, data in WHOLE.items():
        changed = bytearray(data)
        for _ in range(5):
            changed[random.integers(8, len(data))] = random.integers(256)
        files[f"mutated.{kind.lower()}"] = bytes(changed)
        files[f"cut.{kind.lower()}"] = data[: 2 * len(data) // 3]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    program = (
        "import sys, pathlib, logging\n"
        "from pacofr.errors import UserError\n"
        "from pacofr.images import load_image\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: load_image(path)\n"
        "    except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 5


def test_a_folder_says_what_it_leaves_out(tmp_path):
    for name in ("a.png", "notes.txt", ".hidden.png", "deep/b.jpg", "deep/c.raw"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "photo without suffix").write_bytes(WHOLE["JPEG"])
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "deep" / "loop").symlink_to("..")
    skipped = {skip.path.name: skip.reason for skip in scan_folder(tmp_path).skipped}
    assert skipped == {
        ".hidden.png": "hidden",
        "broken.jpg": "no regular file",
        "deep": "subfolder",
        "notes.txt": "no picture",
        "photo without suffix": "no picture",
    }
    listing = scan_folder(tmp_path, recursive=True, by_content=True)
    assert [path.name for path in listing.images] == ["a.png", "b.jpg", "photo without suffix"]
    assert {skip.path.name: skip.reason for skip in listing.skipped} == {
        ".hidden.png": "hidden",
        "broken.jpg": "no regular file",
        "c.raw": "no picture",
        "loop": "folder that is linked twice",
        "notes.txt": "no picture",
    }


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


@pytest.mark.parametrize("compression", [2, 5, 7, 8, 32773, 34925, 50000])
def test_libtiff_prints_nothing_of_damaged_strips(compression, capfd):
    values = {256: 100, 257: 100, 258: 8, 259: compression, 262: 1, 273: 200, 277: 1, 278: 100}
    values[279] = 10_000
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in sorted(values.items()))
    data = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4)
    with pytest.raises(UserError, match="damaged"):
        decode_image(data.ljust(200, b"\0") + bytes(10_000), "a.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mark", [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"])
def test_pnm_headers_of_any_length_are_bounded(mark):
    largest = b"" if mark in (b"P1", b"P4") else b" 255"
    pixels = b"1 " * 9600 if mark in (b"P1", b"P2", b"P3") else b" " * 9600
    header = mark + b" # drawn\n#by hand\n\t40\r\n40" + largest + b"\n"
    assert decode_image(header + pixels, "a.pnm").shape == (40, 40, 3)
    with pytest.raises(UserError, match=r"a\.pnm has a PNM header of more than 4096 bytes"):
        decode_image(mark + b" #" + b"x" * 10_000_000 + header[2:] + pixels, "a.pnm")
