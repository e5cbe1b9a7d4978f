"""ICT-FaceKit: every number of its arrays arrives, in metres; folders that are not whole say so."""

import numpy as np
import pytest
import torch

from flame_assets.arkit import EXPRESSIONS
from flame_assets.errors import UserError
from flame_assets.formats import ict
from flame_assets.inert.files import ReadError
from flame_assets.model.head_module import HeadDecoder, HeadParameters


@pytest.fixture(scope="module")
def source(shared_data):
    return shared_data / "ict_facekit" / "ict_facekit_light.npz"


@pytest.fixture(scope="module")
def head(source):
    return ict.convert_ict(source)


def decoded(head, **changes):
    with torch.no_grad():
        return HeadDecoder(head)(HeadParameters.zeros(head)._replace(**changes))


def test_identity_and_expressions_are_the_files_sums(head, source):
    with np.load(source) as data:
        names = data["expression_names"].tolist()
        neutral, identity, expression = data["neutral"], data["identity"], data["expression"]
        weights = np.random.default_rng(0).standard_normal(100).astype(np.float32)
        want = neutral + np.einsum("k,kvc->vc", weights, identity.astype(np.float32))
        for name, share in (("jawOpen", 0.7), ("mouthSmile_L", 0.4), ("browInnerUp_L", 0.5)):
            want = want + share * expression[names.index(name)].astype(np.float32)
        want += 0.5 * expression[names.index("browInnerUp_R")].astype(np.float32)
    given = torch.zeros(1, 51)
    for name, share in (("jawOpen", 0.7), ("mouthSmileLeft", 0.4), ("browInnerUp", 0.5)):
        given[0, EXPRESSIONS.index(name)] = share
    mesh = decoded(head, shape=torch.from_numpy(weights)[None], expression=given)
    got = mesh.vertices[0].numpy()
    np.testing.assert_allclose(got, 0.01 * want[: len(got)], atol=2e-6)
    marks = mesh.landmarks[0].numpy()
    np.testing.assert_allclose(marks, 0.01 * want[ict.LANDMARKS], atol=2e-6)


def test_all_arkit_shapes_but_the_tongue_are_there(head):
    assert head.expression_names == EXPRESSIONS
    assert head.expression_bounds == (0.0, 1.0)
    assert len(ict.model_files()) == 1 + 100 + 53
    size_mm = 1000 * np.linalg.norm(head.expression_basis, axis=1).max(0)
    assert size_mm.min() > 1


@pytest.mark.parametrize("identity", [0, 3, 20])
def test_eyes_turn_about_the_centres_of_their_spheres(head, identity):
    """Turned eyeballs stay on their sphere, for other people too."""
    shape = torch.zeros(1, 100)
    shape[0, identity] = 2.0
    turn = torch.tensor([[0.2, 0.3, 0.0]])
    still = decoded(head, shape=shape)
    moved = decoded(head, shape=shape, left_eye_pose=turn)
    sclera = ict.SCLERAS[3]
    centre = ict.sphere_centre(still.vertices[0, sclera].numpy())
    radius = np.linalg.norm(still.vertices[0, sclera].numpy() - centre, axis=1)
    turned = np.linalg.norm(moved.vertices[0, sclera].numpy() - centre, axis=1)
    np.testing.assert_allclose(turned, radius, atol=3e-4)
    skin = ict.SKIN_VERTICES
    torch.testing.assert_close(moved.vertices[0, skin], still.vertices[0, skin])


def test_left_and_right_are_the_subject_s(head):
    for region, sign in (("left_eyeball", 1), ("right_eyeball", -1)):
        assert sign * head.template[head.regions[region], 0].mean() > 0.02
    left = EXPRESSIONS.index("mouthSmileLeft")
    moved = np.linalg.norm(head.expression_basis[..., left], axis=1)
    assert np.average(head.template[:, 0], weights=moved) > 0.01


def obj(vertices, *, faces="f 1/1 2/2 3/3 4/4\nf 1/1 3/3 4/4\n"):
    rows = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in vertices)
    return f"# licence\n#\n{rows}vt 0.0 1.0\nvt 0.5 1.0\nusemtl M_Face\n{faces}".encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All 154 files of a model of four vertices."""
    folder = tmp_path_factory.mktemp("FaceXModel")
    rng = np.random.default_rng(1)
    for name in ict.model_files():
        (folder / f"{name}.obj").write_bytes(obj(rng.standard_normal((4, 3))))
    return folder


def test_only_vertices_are_read_and_modes_are_differences(folder):
    arrays = ict.read_folder(folder)
    rng = np.random.default_rng(1)
    meshes = {name: rng.standard_normal((4, 3)) for name in ict.model_files()}
    neutral = meshes[ict.NEUTRAL]
    np.testing.assert_allclose(arrays.neutral, neutral, atol=1e-6)
    np.testing.assert_allclose(arrays.identity[7], meshes["identity007"] - neutral, atol=2e-6)
    np.testing.assert_allclose(arrays.expression["jawOpen"], meshes["jawOpen"] - neutral, atol=2e-6)
    assert arrays.faces.tolist() == [[0, 1, 2, 3], [0, 2, 3, -1]]


def test_a_missing_file_is_named(folder, tmp_path):
    for path in folder.iterdir():
        if path.name != "identity042.obj":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"identity042\.obj.*flame-assets get ict"):
        ict.convert_ict(tmp_path)


def test_other_meshes_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"has 4 vertices.*expected 26719"):
        ict.convert_ict(folder)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "jawOpen.obj").write_bytes(obj(np.zeros((5, 3))))
    with pytest.raises(UserError, match=r"jawOpen\.obj has 5 vertices, the neutral mesh 4"):
        ict.convert_ict(tmp_path)


@pytest.mark.parametrize("corner", ["4294967295", "0", "-1", "26720"])
def test_faces_of_other_vertices_are_refused(folder, tmp_path, corner):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    neutral = tmp_path / f"{ict.NEUTRAL}.obj"
    neutral.write_bytes(obj(np.zeros((4, 3)), faces=f"f 1/1 2/2 {corner}/3\n"))
    with pytest.raises(ReadError, match=r"no triangle or quad"):
        ict.read_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no vertices"),
        (b"v 1 2 3\nv 1 2\nvt 0 0\n", "not `v x y z`"),
        (b"v 1 2 nan\nvt 0 0\n", "not finite"),
        (b"v 1 2 x\nvt 0 0\n", "no numbers"),
        (b"<html>", "no vertices"),
    ],
)
def test_malformed_vertices_are_one_line(text, words):
    with pytest.raises(ReadError, match=words):
        ict.parse_vertices(text)


ARRAYS = {
    "neutral": np.zeros((4, 3), "f4"),
    "faces": np.array([[0, 1, 2, -1]], "i4"),
    "identity": np.zeros((2, 4, 3), "f2"),
    "expression": np.zeros((1, 4, 3), "f2"),
    "expression_names": np.array(["jawOpen"]),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "odd",
    [
        np.array("text"),
        np.array(["a"]),
        np.float64(1),
        np.ones((2, 2), complex),
        np.array([[np.nan]]),
        np.array([1 << 40]),
        np.array([{"a": 1}], object),
    ],
)
def test_arrays_of_another_kind_are_one_line(tmp_path, name, odd):
    np.savez(tmp_path / "a.npz", allow_pickle=True, **ARRAYS | {name: odd})
    with pytest.raises(UserError, match="expected ICT-FaceKit's folder FaceXModel"):
        ict.convert_ict(tmp_path / "a.npz")
