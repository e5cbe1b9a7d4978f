"""`mica-ext figure` on the example portrait, with a toy head and an untrained network."""

import json
import shutil

import numpy as np
import pytest
from helpers.command_output import one_line
from helpers.page_data import Page
from PIL import Image
from scipy.spatial.transform import Rotation

from eval_now.geometry.mesh import Mesh
from eval_now.io.meshes import save_obj
from mica_ext.cli import main
from mica_ext.commands.photo_run.output_plan import EXAMPLE


def figure(*arguments):
    return main(["figure", *map(str, arguments)])


def head_of(page: Page, column: int) -> np.ndarray:
    mesh = page.data["rows"][0]["cells"][column]["mesh"]
    return page.buffer(mesh["vertices"]).reshape(-1, 3)


@pytest.fixture(scope="module")
def folder(pack, tmp_path_factory):
    """A photo, and the head made of it as another method's mesh and, moved, as the truth."""
    folder = tmp_path_factory.mktemp("figure")
    shutil.copy(EXAMPLE, folder / "man.jpg")
    assert figure(folder / "man.jpg", "--packs", f"toy={pack}", "-o", folder / "plain.html") == 0
    page = Page((folder / "plain.html").read_bytes())
    mesh = page.data["rows"][0]["cells"][0]["mesh"]
    triangles = page.buffer(mesh["triangles"]).reshape(-1, 3).astype(np.int64)
    vertices = head_of(page, 0).astype(np.float64)
    turned = Rotation.from_rotvec([0.2, -0.4, 0.1]).apply(vertices * 1000) + [5, -30, 80]
    for name, points in (("other", vertices * 3), ("truth", turned)):
        (folder / name).mkdir()
        save_obj(folder / name / "man.obj", Mesh(points, triangles), decimals=6)
    return folder


@pytest.fixture(scope="module")
def options(folder, pack):
    compared = ["--meshes", f"other={folder / 'other'}", "--truth", folder / "truth"]
    return [folder / "man.jpg", "--packs", f"toy={pack}", *compared]


def test_the_page_holds_every_head_in_one_frame(folder, options):
    assert figure(*options, "-o", folder / "all.html") == 0
    page = Page((folder / "all.html").read_bytes())
    assert page.data["titles"] == ["Input", "toy", "other", "toy: error", "other: error"]
    assert "http:" not in page.text
    assert "https:" not in page.text
    for column in (1, 2, 3):  # a scaled copy, and the truth, which is the head moved
        np.testing.assert_allclose(head_of(page, column), head_of(page, 0), atol=2e-5)
    captions = [cell["caption"] for cell in page.data["rows"][0]["cells"]]
    assert captions == ["", ""] + ["median 0.00, mean 0.00 mm"] * 2


def test_prints_have_300_dpi_and_their_fonts(folder, options):
    assert figure(*options, "-o", folder / "all.pdf") == 0
    content = (folder / "all.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in content  # TrueType, embedded
    assert b"/Type3" not in content
    assert figure(*options[:3], "-o", folder / "plain.png") == 0
    picture = Image.open(folder / "plain.png")
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert picture.width == pytest.approx(300 * (2 * 1.47 + 0.05), abs=2)
    shown = np.asarray(picture.convert("L")).astype(int)
    assert shown[:, picture.width // 2 :].min() < 150  # a head, not white paper


def test_what_cannot_be_compared_is_one_line(folder, options, pack, tmp_path, capsys):
    (tmp_path / "man.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n" + "f 1 2 3\n" * 4)
    start = options[:3]
    for arguments, words in (
        ([*start, "-o", tmp_path / "a.jpg"], ".pdf .png .html"),
        ([*start, "--meshes", "nothing", "-o", tmp_path / "a.png"], "NAME=DIR"),
        ([*start, "--truth", tmp_path / "no", "-o", tmp_path / "a.png"], "folder of meshes"),
        ([*start, "--packs", str(pack), str(pack), "-o", tmp_path / "a.png"], "one name"),
        ([*start, "--truth", tmp_path, "-o", tmp_path / "a.png"], "seven landmarks"),
        ([*start, "-o", folder / "plain.html"], "--overwrite"),
    ):
        capsys.readouterr()
        assert figure(*arguments) == 2
        assert words in one_line(capsys.readouterr().err)
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == '["man.obj"]'
