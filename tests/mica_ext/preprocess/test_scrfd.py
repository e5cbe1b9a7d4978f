"""`--detector mica`: SCRFD through insightface, and packs that are not whole."""

import zipfile

import numpy as np
import pytest
from helpers.scrfd_toy import scrfd_model

from flame_assets import store
from mica_ext.cli import reconstruct
from mica_ext.errors import UserError
from mica_ext.preprocess.scrfd import DETECTORS, ScrfdDetector


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, head):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "cache").symlink_to(store.home() / "cache")  # Anthro as it was built
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def with_insightface():
    pytest.importorskip("insightface", reason="needs the extra `mica`")


def pack(folder, data, nested=True):
    path = folder / "antelopev2.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{'antelopev2/' if nested else ''}{DETECTORS[0]}", data)
        archive.writestr("antelopev2/glintr100.onnx", b"-")
    return path


def photo_with_a_bright_spot(width=448, height=336):
    """Black but for a square of 32 pixels, 16 at the detector's side, on its grid."""
    image = np.zeros((height, width, 3), np.uint8)
    image[128:160, 256:288] = 255
    return image


@pytest.mark.usefixtures("with_insightface")
@pytest.mark.parametrize("nested", [True, False])
def test_faces_are_found_in_the_photo_s_pixels(tmp_path, nested):
    detector = ScrfdDetector(pack(tmp_path, scrfd_model(), nested))
    face = detector(photo_with_a_bright_spot())[0]
    # photo 448 x 336 -> 224 x 168: half the size; the cell of stride 16 at (128, 64) is bright
    stride, centre = 16, np.array([128.0, 64.0])
    box = 2 * np.concatenate([centre - 4 * stride, centre + 4 * stride])
    np.testing.assert_allclose(face.box, box, atol=1)
    np.testing.assert_allclose(face.points[2], 2 * (centre + [0, 0.2 * stride]), atol=1)
    assert face.points[0, 0] < face.points[1, 0]
    assert face.score > 0.9
    assert detector(photo_with_a_bright_spot(), min_face=10_000.0) == []


@pytest.mark.usefixtures("with_insightface")
def test_a_photo_without_a_face_has_none(tmp_path):
    detector = ScrfdDetector(pack(tmp_path, scrfd_model()))
    assert detector(np.zeros((100, 150, 3), np.uint8)) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"no graph at all", "cannot be read"), (b"", "cannot be read")],
)
def test_a_corrupt_graph_is_one_line(tmp_path, data, words):
    with pytest.raises(UserError, match=words) as caught:
        ScrfdDetector(pack(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_another_graph_is_one_line(tmp_path):
    with pytest.raises(UserError, match="1 inputs and 6 outputs"):
        ScrfdDetector(pack(tmp_path, scrfd_model(outputs=6)))


def test_a_half_unpacked_pack_is_one_line(tmp_path):
    folder = tmp_path / "antelopev2"
    (folder / "antelopev2").mkdir(parents=True)
    (folder / "antelopev2" / "glintr100.onnx").write_bytes(b"-")
    with pytest.raises(UserError, match=r"expected scrfd_10g_bnkps\.onnx in it"):
        ScrfdDetector(folder)


def test_a_cut_pack_is_one_line(tmp_path):
    path = pack(tmp_path, bytes(5000))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="zip archive"):
        ScrfdDetector(path)


def test_without_a_pack_the_command_says_how_to_get_it(tmp_path, capsys):
    out = tmp_path / "a.obj"
    code = reconstruct(["--example", "--out", str(out), "--detector", "mica"])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert "flame-assets get antelopev2" in err
    assert not out.exists()
