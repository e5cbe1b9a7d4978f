"""The converter reads every style of FLAME file to the last number, or says what is missing."""

import pickle
import shutil
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
from helpers.flame_tiny import SMALL_V, small_embedding, small_model

from flame_assets.errors import UserError
from flame_assets.formats.flame import convert_flame
from flame_assets.formats.pickle_reader import read_pickle
from flame_assets.formats.pickled_arrays import as_array
from flame_assets.model.head import array_fields


@pytest.fixture
def files(tmp_path):
    (tmp_path / "generic_model.pkl").write_bytes(pickle.dumps(small_model(), 2))
    np.save(tmp_path / "landmark_embedding.npy", np.array(small_embedding(), dtype=object))
    return tmp_path


@pytest.fixture
def head(files):
    return convert_flame(files / "generic_model.pkl")


def test_every_number_arrives(head):
    model, marks = small_model(), {k: np.asarray(v) for k, v in small_embedding().items()}
    want = {
        "template": model["v_template"],
        "triangles": model["f"],
        "shape_basis": model["shapedirs"][..., :300],
        "expression_basis": model["shapedirs"][..., 300:],
        "pose_basis": model["posedirs"],
        "joint_regressor": model["J_regressor"].toarray(),
        "skinning_weights": model["weights"],
        "landmark_triangles": marks["static_lmk_faces_idx"],
        "landmark_barycentric": marks["static_lmk_bary_coords"],
        "contour_triangles": marks["dynamic_lmk_faces_idx"],
        "contour_barycentric": marks["dynamic_lmk_bary_coords"],
        "static_contour_triangles": marks["full_lmk_faces_idx"][0, :17],
        "static_contour_barycentric": marks["full_lmk_bary_coords"][0, :17],
    }
    for name, array in want.items():
        got = getattr(head, name)
        np.testing.assert_array_equal(got, array.astype(got.dtype), err_msg=name)
    assert head.name == "flame2020-generic"
    assert "non-commercial" in head.licence


def write_npz(folder):
    model = {k: v for k, v in small_model().items() if not isinstance(v, str)}
    np.savez(folder / "model.npz", **model | {"J_regressor": model["J_regressor"].toarray()})
    return folder / "model.npz"


def write_zip(folder):
    with zipfile.ZipFile(folder / "FLAME2020.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("FLAME2020/readme.pdf", "-")
        archive.write(folder / "generic_model.pkl", "FLAME2020/generic_model.pkl")
    return folder / "FLAME2020.zip"


def write_chumpy(folder, monkeypatch):
    Ch, _ = fake_chumpy(monkeypatch)
    model = small_model()
    for key in ("v_template", "shapedirs", "posedirs", "weights"):
        model[key] = Ch(x=model[key], _dirty_vars={"x"}, _itr=None)
    (folder / "chumpy.pkl").write_bytes(pickle.dumps(model, 2))
    return folder / "chumpy.pkl"


def test_chumpy_zip_and_npz_files_give_the_same_head(files, head, monkeypatch):
    for path in (write_chumpy(files, monkeypatch), write_npz(files), write_zip(files)):
        other = convert_flame(path)
        for name in array_fields(type(head)):
            np.testing.assert_array_equal(getattr(other, name), getattr(head, name))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("flame2023_Open.pkl", "flame2023-open"),
        ("flame2023.pkl", "flame2023"),
        ("flame2023_no_jaw.pkl", "flame2023-no-jaw"),
        ("FLAME2020/female_model.pkl", "flame2020-female"),
        ("FLAME2017/generic_model.pkl", "flame2017-generic"),
        ("FLAME2023/generic_model.pkl", "flame2023"),
    ],
)
def test_releases_are_told_apart(files, path, name):
    (files / path).parent.mkdir(exist_ok=True)
    shutil.copy(files / "generic_model.pkl", files / path)
    other = convert_flame(files / path, landmarks=files / "landmark_embedding.npy")
    assert other.name == name
    assert ("CC BY 4.0" in other.licence) == ("Open" in path)


def test_masks_become_regions_and_colours(files):
    masks = {"lips": np.arange(5), "left_eyeball": np.array([7, 8]), "face": np.arange(SMALL_V)}
    (files / "masks.pkl").write_bytes(pickle.dumps(masks, 2))
    head = convert_flame(files / "generic_model.pkl", masks=files / "masks.pkl")
    assert head.regions["lips"].tolist() == [0, 1, 2, 3, 4]
    assert head.regions["left_eyeball"].tolist() == [7, 8]
    assert head.colours is not None
    assert not np.array_equal(head.colours[0], head.colours[50])


def fake_chumpy(monkeypatch):
    """Classes that pickle under the names of chumpy 0.70's Ch and Select, without chumpy."""

    def make(module, name):
        def set_state(self, **state):
            self.__dict__ |= state

        cls = type(name, (), {"__module__": module, "__init__": set_state})
        holder = types.ModuleType(module)
        setattr(holder, name, cls)
        monkeypatch.setitem(sys.modules, module, holder)
        return cls

    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return make("chumpy.ch", "Ch"), make("chumpy.reordering", "Select")


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_chumpy_select_is_followed(monkeypatch, protocol):
    Ch, Select = fake_chumpy(monkeypatch)
    numbers = np.arange(24.0).reshape(2, 3, 4)
    kept = np.arange(24).reshape(2, 3, 4)[:, :, :2].ravel()
    value = Select(a=Ch(x=numbers), idxs=kept, preferred_shape=(2, 3, 2))
    got = as_array(read_pickle(pickle.dumps(value, protocol)))
    np.testing.assert_array_equal(got, numbers[:, :, :2])


def test_bad_archives_are_refused(tmp_path):
    path = tmp_path / "FLAME2020.zip"
    path.write_bytes(b"PK not really")
    with pytest.raises(UserError, match="no readable zip"):
        convert_flame(path)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("../../etc/passwd", "x")
    with pytest.raises(UserError, match=r"holds none of flame2023_open\.pkl"):
        convert_flame(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("generic_model.pkl", bytes(1000))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # the uncompressed size in the central directory
    data[at : at + 4] = struct.pack("<I", 0xFFFFFF00)
    path.write_bytes(data)
    with pytest.raises(UserError, match="generic_model.pkl of 4095 MiB"):
        convert_flame(path)


def test_missing_pieces_are_named(files, tmp_path):
    tmp_path = tmp_path / "alone"
    tmp_path.mkdir()
    shutil.copy(files / "generic_model.pkl", tmp_path)
    with pytest.raises(UserError, match="--landmarks"):
        convert_flame(tmp_path / "generic_model.pkl")
    with pytest.raises(UserError, match="cannot read .*nowhere.pkl"):
        convert_flame(tmp_path / "nowhere.pkl")
    (tmp_path / "half.pkl").write_bytes(pickle.dumps({"v_template": 1, "f": 2}))
    with pytest.raises(UserError, match="lacks shapedirs, posedirs, weights"):
        convert_flame(tmp_path / "half.pkl")
    model = small_model() | {"weights": np.ones((SMALL_V, 4))}
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(model))
    with pytest.raises(UserError, match=r"skinning weights of \(60, 4\)"):
        convert_flame(tmp_path / "bad.pkl", landmarks=files / "landmark_embedding.npy")


def test_a_name_that_cannot_be_is_not_blamed_on_the_file(files):
    with pytest.raises(ValueError, match="HeadModel.name: expected letters.*'my head'"):
        convert_flame(files / "generic_model.pkl", name="my head")


def test_a_contour_table_for_the_opposite_yaw_is_told(files, caplog):
    """The toy's points lie anywhere, but of a table and its opposite only one can be right."""
    table = small_embedding()
    opposite = [0, *range(40, 79), *range(1, 40)]
    doubts = []
    for rows in (slice(None), opposite):
        turned = {k: v[rows] if k.startswith("dynamic") else v for k, v in table.items()}
        np.save(files / "landmark_embedding.npy", np.array(turned, dtype=object))
        caplog.clear()
        convert_flame(files / "generic_model.pkl")
        doubts.append("made for the opposite yaw" in caplog.text)
    assert sorted(doubts) == [False, True]
