"""GLB files against the glTF 2.0 specification, and what their joints and textures do."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers.mica_toy import toy_face, toy_head

from eval_now.geometry.normals import vertex_normals
from flame_assets.model.head_module import HeadDecoder
from mica_ext.export.blendshapes import morphs
from mica_ext.export.gltf.glb import glb_bytes
from mica_ext.export.surface import surface_of
from mica_ext.models.pose import in_pose

HEAD = toy_head()
DECODER = HeadDecoder(HEAD)
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
KINDS = {5121: np.dtype("u1"), 5125: np.dtype("<u4"), 5126: np.dtype("<f4")}


class Glb:
    """A GLB read by the letter of the specification."""

    def __init__(self, content: bytes) -> None:
        assert content[:4] == b"glTF"
        version, length = np.frombuffer(content[4:12], "<u4")
        assert (version, length) == (2, len(content))
        size, kind = np.frombuffer(content[12:20], "<u4")
        assert kind.tobytes() == b"JSON"
        assert size % 4 == 0
        self.document = json.loads(content[20 : 20 + size])
        binary, kind = np.frombuffer(content[20 + size : 28 + size], "<u4")
        assert kind.tobytes() == b"BIN\0"
        assert 28 + size + binary == len(content)
        self.blob = content[28 + size :]
        (buffer,) = self.document["buffers"]
        assert 0 <= len(self.blob) - buffer["byteLength"] < 4

    def view(self, index: int) -> bytes:
        view = self.document["bufferViews"][index]
        end = view["byteOffset"] + view["byteLength"]
        assert end <= self.document["buffers"][view["buffer"]]["byteLength"]
        assert view["byteOffset"] % 4 == 0
        return self.blob[view["byteOffset"] : end]

    def accessor(self, index: int) -> np.ndarray:
        accessor = self.document["accessors"][index]
        kind, width = KINDS[accessor["componentType"]], WIDTHS[accessor["type"]]
        values = np.zeros((accessor["count"], width), kind)
        if "bufferView" in accessor:
            values = np.frombuffer(self.view(accessor["bufferView"]), kind).reshape(-1, width)
            assert len(values) == accessor["count"]
            assert width * kind.itemsize % 4 == 0  # rows of vertex attributes are aligned
        if sparse := accessor.get("sparse"):
            rows = np.frombuffer(self.view(sparse["indices"]["bufferView"]), "<u4")
            assert len(rows) == sparse["count"] >= 1
            assert (np.diff(rows.astype(int)) > 0).all()
            assert rows.max() < accessor["count"]
            values[rows] = np.frombuffer(self.view(sparse["values"]["bufferView"]), kind).reshape(
                -1, width
            )
        if "min" in accessor:
            np.testing.assert_array_equal(accessor["min"], values.min(axis=0))
            np.testing.assert_array_equal(accessor["max"], values.max(axis=0))
        return values


def make(pose="expressive", texture=None):
    parameters = in_pose(toy_face(HEAD).parameters.head, pose)
    rest, targets, skeleton = morphs(DECODER, parameters)
    surface = surface_of(HEAD, rest.numpy(), texture)
    return Glb(glb_bytes(surface, targets, "toy", skeleton)), rest.numpy(), targets, parameters


@pytest.mark.parametrize("texture", [None, np.full((64, 64, 3), 90, np.uint8)])
def test_everything_in_the_file_is_where_the_specification_wants_it(texture):
    glb, _, targets, _ = make(texture=texture)
    document = glb.document
    (mesh,) = document["meshes"]
    (primitive,) = mesh["primitives"]
    count = len(glb.accessor(primitive["attributes"]["POSITION"]))
    for index in primitive["attributes"].values():
        assert len(glb.accessor(index)) == count
    for name in ("POSITION",):
        assert "min" in document["accessors"][primitive["attributes"][name]]
    assert glb.accessor(primitive["indices"]).max() < count
    assert len(primitive["targets"]) == len(mesh["weights"]) == len(targets)
    assert len(mesh["extras"]["targetNames"]) == len(targets)
    for target in primitive["targets"]:
        assert set(target) == {"POSITION", "NORMAL"}
        assert len(glb.accessor(target["POSITION"])) == len(glb.accessor(target["NORMAL"])) == count
        assert "min" in document["accessors"][target["POSITION"]]
    used = {0, *(i for view in document["accessors"] for i in [view.get("bufferView", 0)])}
    assert max(used) < len(document["bufferViews"])
    nodes = document["nodes"]
    children = [child for node in nodes for child in node.get("children", [])]
    assert sorted(children + document["scenes"][0]["nodes"]) == list(range(len(nodes)))
    targeted = {view.get("target") for view in document["bufferViews"]}
    assert targeted <= {None, 34962, 34963}
    lengths = np.linalg.norm(glb.accessor(primitive["attributes"]["NORMAL"]), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-5)
    assert ("COLOR_0" in primitive["attributes"]) == (texture is None)


def test_target_normals_are_those_of_the_moved_mesh():
    glb, rest, targets, _ = make()
    primitive = glb.document["meshes"][0]["primitives"][0]
    points = glb.accessor(primitive["attributes"]["POSITION"])
    source = np.array([np.flatnonzero((rest == point).all(axis=1))[0] for point in points])
    base = glb.accessor(primitive["attributes"]["NORMAL"])
    for target, entry in zip(targets, primitive["targets"], strict=True):
        expected = vertex_normals(rest + target.offsets, HEAD.triangles)[source]
        np.testing.assert_allclose(base + glb.accessor(entry["NORMAL"]), expected, atol=1.1e-3)


def node_matrix(node):
    matrix = np.eye(4)
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    x, y, z, w = node.get("rotation", [0, 0, 0, 1])
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return matrix


def skinned(glb, turned):
    """Vertices of the rest shape under the joints, some of them turned about x."""
    document = glb.document
    skin = document["skins"][document["nodes"][0]["skin"]]
    world = {}

    def walk(index, above):
        node = document["nodes"][index]
        matrix = above @ node_matrix(node)
        if node["name"] in turned:
            angle = turned[node["name"]]
            turn = np.eye(4)
            turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            matrix = matrix @ turn
        world[index] = matrix
        for child in node.get("children", []):
            walk(child, matrix)

    walk(skin["skeleton"], np.eye(4))
    inverse = glb.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    joints = np.stack([world[node] @ inverse[k] for k, node in enumerate(skin["joints"])])
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    weights = glb.accessor(attributes["WEIGHTS_0"])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    points = glb.accessor(attributes["POSITION"])
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    blended = np.einsum("nk,nkij->nij", weights, joints[glb.accessor(attributes["JOINTS_0"])])
    return np.einsum("nij,nj->ni", blended, points)[:, :3]


@pytest.mark.parametrize("pose", ["expressive", "posed"])
def test_the_joints_hold_the_mesh_where_it_is_and_turn_it_as_the_head_does(pose):
    glb, rest, _, parameters = make(pose)
    names = [node["name"] for node in glb.document["nodes"]]
    assert names == ["head", "global", "neck", "jaw", "left_eye", "right_eye"]
    attributes = glb.document["meshes"][0]["primitives"][0]["attributes"]
    points = glb.accessor(attributes["POSITION"])
    np.testing.assert_allclose(skinned(glb, {}), points, atol=1e-6)
    turned = parameters._replace(
        expression=torch.zeros_like(parameters.expression),
        jaw_pose=torch.tensor([[0.3, 0.0, 0.0]]),
        left_eye_pose=torch.zeros(1, 3),
        right_eye_pose=torch.zeros(1, 3),
    )
    expected = DECODER(turned).vertices[0].numpy()
    source = np.array([np.flatnonzero((rest == point).all(axis=1))[0] for point in points])
    np.testing.assert_allclose(skinned(glb, {"jaw": 0.3}), expected[source], atol=2e-6)


def test_the_texture_comes_back_from_the_file():
    rows, columns = np.mgrid[0:64, 0:64] * 4
    texture = np.stack([rows, columns, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    glb, *_ = make(texture=texture)
    material = glb.document["materials"][0]["pbrMetallicRoughness"]
    index = glb.document["textures"][material["baseColorTexture"]["index"]]["source"]
    image = glb.document["images"][index]
    assert image["mimeType"] == "image/jpeg"
    packed = np.frombuffer(glb.view(image["bufferView"]), np.uint8)
    picture = cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.abs(picture.astype(int) - texture).max() < 8
