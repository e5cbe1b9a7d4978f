"""`mica-ext convert-expression` and GLBs on a head with FLAME's conventions, made from Anthro."""

import json

import numpy as np
import pytest
import torch
from helpers.flame_like import flame_like

from flame_assets.arkit import EXPRESSIONS, JAW_OPEN
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from flame_assets.store import load_head
from mica_ext.cli import main
from mica_ext.conversion.arkit_files import read_live_link
from mica_ext.conversion.motion import ARKIT_NAMES
from mica_ext.conversion.named_targets import targets_for_file
from mica_ext.export.blendshapes import morphs
from mica_ext.shape_transfer.shape_store import arkit_shapes

WEIGHTS = {
    "smile": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.3},
    "open": {"jawOpen": 0.6, "eyeLookUpLeft": 0.4, "eyeLookUpRight": 0.4},
    "blink": {"eyeBlinkLeft": 1.0, "browInnerUp": 0.5},
}


@pytest.fixture(scope="module")
def store(flame_like_store):
    return flame_like_store


@pytest.fixture(autouse=True)
def home(store, monkeypatch):
    monkeypatch.setenv("PACOFR_HOME", str(store))


@pytest.fixture
def run(capsys, store):
    def run(*arguments):
        fixed = ("--head", "flame-like", "--source-head", str(store / "source"))
        code = main(["convert-expression", *map(str, arguments), *fixed])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.json"
    frames = [{name: row.get(name, 0.0) for name in ARKIT_NAMES} for row in WEIGHTS.values()]
    path.write_text(json.dumps(frames))
    return path


def test_there_and_back(run, clip, tmp_path):
    """ARKit -> FLAME -> ARKit: large weights come back, and the jaw turns as jawOpen says."""
    code, out, err = run(clip, "--out", tmp_path / "flame.npz")
    assert code == 0, err
    assert "3 frames of flame-like" in out
    assert "not explained: mean 0." in out
    with np.load(tmp_path / "flame.npz") as file:
        assert file["expr"].shape == (3, 50)
        assert file["jaw_pose"][1, 0] == pytest.approx(0.6 * JAW_OPEN, rel=0.2)
        assert np.abs(file["jaw_pose"][[0, 2]]).max() < 0.06
        assert file["eyes_pose"][1, 0] == pytest.approx(-0.4 * np.radians(22), abs=1e-4)
    code, out, err = run(tmp_path / "flame.npz", "--to", "arkit", "--out", tmp_path / "back.csv")
    assert code == 0, err
    back = read_live_link(tmp_path / "back.csv").weights
    for row, wanted in zip(back, WEIGHTS.values(), strict=True):
        for name, weight in wanted.items():
            assert row[ARKIT_NAMES.index(name)] == pytest.approx(weight, abs=0.3), name
        others = [k for k, name in enumerate(ARKIT_NAMES) if name not in wanted]
        assert row[others].mean() < 0.03


def test_eyelids_take_the_blink_out_of_the_expression(run, clip, tmp_path):
    code, _, err = run(clip, "--out", tmp_path / "lids.npz", "--eyelids")
    assert code == 0, err
    with np.load(tmp_path / "lids.npz") as file:
        np.testing.assert_allclose(file["eyelids"], [[0, 0], [0, 0], [1, 0]], atol=1e-6)
    code, _, err = run(tmp_path / "lids.npz", "--out", tmp_path / "back.csv")
    assert code == 0, err
    back = read_live_link(tmp_path / "back.csv").weights
    assert back[2, ARKIT_NAMES.index("eyeBlinkLeft")] > 0.95
    assert back[2, ARKIT_NAMES.index("eyeBlinkRight")] < 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "x.obj"), "ending in .npz .json"),
        (("--out", "x.npz", "--to", "arkit"), "nothing to convert"),
        (("--out", "x.csv", "--to", "flame"), "ending in .npz .json"),
        (("--out", "x.npz", "--fps", "0"), "--fps"),
        (("--out", "x.npz", "--fps", "1e-320"), "--fps: expected 0.001 to 100000"),
        (("--out", "x.npz", "--fps", "nan"), "--fps"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    run, clip, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(clip, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err
    assert not list(tmp_path.glob("x.*"))


def test_a_file_without_expressions_names_what_it_holds(run, tmp_path):
    np.savez(tmp_path / "a.npz", betas=np.zeros(10), transl=np.zeros(3))
    code, _, err = run(tmp_path / "a.npz", "--out", tmp_path / "x.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "betas, transl" in err


def test_a_head_with_arkit_s_names_needs_no_conversion(capsys, clip, store, tmp_path):
    head = str(store / "source")
    code = main(["convert-expression", str(clip), "--out", str(tmp_path / "x.npz"), "--head", head])
    assert code == 2
    assert "ARKit's weights already" in capsys.readouterr().err


def test_kept_shapes_are_used_again_and_damaged_ones_made_anew(store):
    from mica_ext.shape_transfer.shape_store import _arkit_shapes

    target, source = load_head("flame-like"), str(store / "source")
    first = arkit_shapes(target, source)
    (folder,) = (store / "cache").glob("arkit-flame-like-from-anthro-*")
    stamp = (folder / "shapes.safetensors").stat().st_mtime_ns
    _arkit_shapes.cache_clear()
    again = arkit_shapes(target, source)
    np.testing.assert_array_equal(again.shapes.offsets, first.shapes.offsets)
    assert (folder / "shapes.safetensors").stat().st_mtime_ns == stamp
    data = bytearray((folder / "shapes.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "shapes.safetensors").write_bytes(data)
    _arkit_shapes.cache_clear()
    mended = arkit_shapes(target, source)
    np.testing.assert_array_equal(mended.shapes.offsets, first.shapes.offsets)


def test_a_glb_has_the_51_names_and_reproduces_the_face(head, store, tmp_path):
    """With another source than Anthro in the store, as a user has ICT: here Anthro by its name."""
    (store / "heads" / "ict").symlink_to(store / "source")
    decoder = HeadDecoder(flame_like(head))
    parameters = HeadParameters.zeros(decoder.head)
    torch.manual_seed(0)
    parameters = parameters._replace(
        shape=torch.randn(1, head.shape_count) * 0.5,
        expression=torch.randn(1, 50) * 0.7,
        jaw_pose=torch.tensor([[0.12, 0.02, 0.0]]),
        global_pose=torch.tensor([[0.1, 0.3, -0.1]]),
    )
    named = targets_for_file(tmp_path / "face.glb", decoder, parameters)
    assert named is not None
    rest, targets, _ = morphs(decoder, parameters, named)
    assert [target.name for target in targets] == [*EXPRESSIONS, "photo"]
    whole = rest.numpy() + sum(target.weight * target.offsets for target in targets)
    np.testing.assert_allclose(whole, decoder(parameters).vertices[0].numpy(), atol=1e-6)
    explained = np.linalg.norm(whole - targets[-1].offsets - whole, axis=1)[head.regions["face"]]
    moved = np.linalg.norm(whole - rest.numpy(), axis=1)[head.regions["face"]]
    assert explained.mean() < 0.35 * moved.mean()
    assert targets_for_file(tmp_path / "face.obj", decoder, parameters) is None
