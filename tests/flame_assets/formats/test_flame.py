"""The converter reads every style of FLAME file to the last number, or says what is missing."""

import pickle
import shutil
import zipfile

import numpy as np
import pytest
from helpers.flame_tiny import SMALL_V, small_embedding, small_model

from flame_assets.errors import UserError
from flame_assets.formats.flame import convert_flame
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


def test_zip_and_npz_files_give_the_same_head(files, head):
    for path in (write_npz(files), write_zip(files)):
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


def test_missing_pieces_are_named(files, tmp_path):
    tmp_path = tmp_path / "alone"
    tmp_path.mkdir()
    shutil.copy(files / "generic_model.pkl", tmp_path)
    with pytest.raises(UserError, match="--landmarks"):
        convert_flame(tmp_path / "generic_model.pkl")
    with pytest.raises(UserError, match="nowhere.pkl cannot be read"):
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
