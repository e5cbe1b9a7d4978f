"""Face Mesh V2 against its own runtime, its golden file, its canonical model and real faces."""

import io
import re
import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from helpers.face_mesh_blendshapes import BLENDSHAPES_FILE, load_blendshapes

from pacofr.errors import UserError
from pacofr.faces.detect import detect
from pacofr.faces.face_mesh import topology
from pacofr.faces.face_mesh.detect import detect_points
from pacofr.faces.face_mesh.flatbuffer import DEQUANTIZE, read_operators
from pacofr.faces.face_mesh.region import (
    Region,
    crop_region,
    region_of_five,
    region_of_points,
)
from pacofr.faces.face_mesh.task_file import (
    LANDMARKS_FILE,
    load_face_mesh,
)
from pacofr.images import load_image


@pytest.fixture(scope="module")
def task(shared_data):
    return shared_data / "face_mesh" / "face_landmarker.task"


@pytest.fixture(scope="module")
def network(task):
    return load_face_mesh(task)


@pytest.fixture(scope="module")
def london(shared_data):
    paths = sorted((shared_data / "london" / "neutral_front").glob("*.jpg"))[:24:4]
    photos = [load_image(path) for path in paths]
    return [(photo, detect(photo)[0].points) for photo in photos]


def crops(faces):
    stack = np.stack([crop_region(photo, region_of_five(five), 256) for photo, five in faces])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("member", [LANDMARKS_FILE, BLENDSHAPES_FILE])
def test_constants_are_those_the_schemas_reader_finds(task, member):
    tflite = pytest.importorskip("tflite", reason="pip install tflite: the reader's oracle")
    data = zipfile.ZipFile(task).read(member)
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)

    def constant(index):
        tensor = graph.Tensors(index)
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        kind = {0: np.float32, 1: np.float16}.get(tensor.Type())
        if isinstance(raw, int) or kind is None:
            return None
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        return np.frombuffer(raw.tobytes(), kind).reshape(shape).astype(np.float32)

    source, expected = {}, []
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        code = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        inputs = operator.InputsAsNumpy()
        if code == DEQUANTIZE:
            source[operator.Outputs(0)] = inputs[0]
        else:
            values = [constant(source.get(i, i)) for i in inputs]
            expected.append((code, [value for value in values if value is not None]))
    found = read_operators(data)
    assert [(o.code, len(o.constants)) for o in found] == [(c, len(v)) for c, v in expected]
    for operator, (_, values) in zip(found, expected, strict=True):
        for ours, theirs in zip(operator.constants, values, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_points_are_those_of_its_own_runtime(task, network, london):
    litert = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="pip install ai-edge-litert: the runtime to agree with"
    )
    runtime = litert.Interpreter(model_content=zipfile.ZipFile(task).read(LANDMARKS_FILE))
    runtime.allocate_tensors()
    place = runtime.get_input_details()[0]["index"]
    outputs = [detail["index"] for detail in runtime.get_output_details()]
    batch = crops(london)
    with torch.inference_mode():
        ours = network(batch)
    for number, crop in enumerate(batch):
        runtime.set_tensor(place, crop.permute(1, 2, 0)[None].contiguous().numpy())
        runtime.invoke()
        points, logit, _ = (runtime.get_tensor(output) for output in outputs)
        np.testing.assert_allclose(ours.points[number], points.reshape(478, 3), atol=5e-4)
        assert float(ours.face_logit[number]) == pytest.approx(float(logit.item()), abs=1e-3)


def test_blendshapes_are_those_of_the_golden_file(task, shared_data):
    given = (shared_data / "face_mesh" / "bs_in.prototxt").read_text()
    points = np.array(re.findall(r"x: (\S+)\s+y: (\S+)", given), np.float32) * [820, 1024]
    golden = (shared_data / "face_mesh" / "bs_out.prototxt").read_text()
    scores = np.array(re.findall(r"score: (\S+)", golden), np.float32)
    with torch.inference_mode():
        found = load_blendshapes(task)(torch.from_numpy(points.astype(np.float32))[None])[0]
    np.testing.assert_allclose(found, scores, atol=1e-5)


def test_topology_is_that_of_the_canonical_model(shared_data):
    vertices, triangles = [], []
    for line in (shared_data / "face_mesh" / "face_model_with_iris.obj").open():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        if kind == "f":
            triangles.append([int(word.split("/")[0]) - 1 for word in words])
    points = np.array(vertices)
    assert points.shape == (topology.POINTS, 3)
    np.testing.assert_allclose(points[topology.MIRROR], points * [-1, 1, 1], atol=2e-6)

    def ring(points):
        return [frozenset(pair) for pair in zip(points, np.roll(points, -1), strict=True)]

    skin = [t for t in triangles if max(t) < topology.SKIN_POINTS]
    edges = Counter(frozenset((t[i], t[i - 1])) for t in skin for i in range(3))
    assert {edge for edge, count in edges.items() if count == 1} == set(ring(topology.FACE_OVAL))
    rings = (topology.RIGHT_EYE, topology.LEFT_EYE, topology.OUTER_LIPS, topology.INNER_LIPS)
    for points_of_ring in rings:
        assert set(ring(points_of_ring)) <= edges.keys()
    for side, iris in (("RIGHT", topology.RIGHT_IRIS), ("LEFT", topology.LEFT_IRIS)):
        centre, *edge = points[iris]
        lids = points[getattr(topology, f"{side}_EYE")]
        assert np.linalg.norm(np.mean(edge, 0) - centre) < 0.1
        assert (lids.min(0) < centre)[:2].all()
        assert (centre < lids.max(0))[:2].all()


def test_mirroring_twice_and_mirroring_68_points_change_nothing():
    mirror = topology.MIRROR
    assert (mirror[mirror] == np.arange(topology.POINTS)).all()
    assert len(set(topology.IBUG68)) == 68
    assert (mirror[topology.IBUG68[36:42]] == topology.IBUG68[[45, 44, 43, 42, 47, 46]]).all()
    assert (mirror[topology.FACE_OVAL] == np.roll(topology.FACE_OVAL[::-1], 1)).all()


def test_a_region_is_read_from_a_photo_where_it_lies():
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[70, 40] = 255
    region = Region(np.array([50.0, 60.0]), 64.0, 0.3)
    crop = crop_region(photo, region, 256).astype(float).sum(2)
    rows, columns = np.indices(crop.shape)
    place = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    matrix = region.to_photo(256)
    np.testing.assert_allclose(place @ matrix[:, :2].T + matrix[:, 2], [40, 70], atol=0.05)
    np.testing.assert_allclose(
        np.vstack([region.to_crop(256), [0, 0, 1]]) @ np.vstack([matrix, [0, 0, 1]]),
        np.eye(3),
        atol=1e-9,
    )


def test_a_region_turns_and_grows_with_its_points():
    generator = np.random.default_rng(0)
    points = generator.uniform(0, 100, (478, 2))
    points[[topology.RIGHT_EYE_OUTER, topology.LEFT_EYE_OUTER]] = [[30, 40], [70, 40]]
    first = region_of_points(points)
    angle, scale, shift = 0.7, 2.5, np.array([30.0, -20.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    second = region_of_points(points @ turn.T + shift)
    np.testing.assert_allclose(second.centre, turn @ first.centre + shift)
    assert second.side == pytest.approx(scale * first.side)
    assert second.roll == pytest.approx(angle)


def test_a_profile_is_upright_by_its_mouth():
    """The eyes of a profile lie nearly at one place, a little noise apart."""
    upright = np.array([[50, 50], [50.5, 51], [70, 65], [55, 90], [55, 90]], float)
    assert abs(region_of_five(upright).roll) > 1
    assert abs(region_of_five(upright, roll_from_mouth=True).roll) < 0.15
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    region = region_of_five(upright @ turn.T, roll_from_mouth=True)
    assert region.roll == pytest.approx(np.pi / 2, abs=0.15)
    points = np.random.default_rng(0).uniform(40, 90, (478, 2))
    points[[33, 263, 61, 291]] = upright[[0, 1, 3, 4]]
    assert abs(region_of_points(points, roll_from_mouth=True).roll) < 0.15


def test_the_detectors_points_guess_the_region_of_the_mesh(network, london):
    found = detect_points(network, *zip(*london, strict=True), passes=3)
    for (_, five), points in zip(london, found.points_px, strict=True):
        guess, region = region_of_five(five), region_of_points(points.numpy())
        assert abs(np.log(guess.side / region.side)) < 0.15
        assert np.linalg.norm(guess.centre - region.centre) < 0.08 * region.side
        assert abs(guess.roll - region.roll) < 0.1


def test_points_follow_the_photo(network, london):
    photo, five = london[0]
    width = photo.shape[1]
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    half = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    five_mirrored = ([width - 1, 0] + five * [-1, 1])[[1, 0, 2, 4, 3]]
    found = detect_points(
        network, [photo, mirrored, half], [five, five_mirrored, (five + 0.5) / 2 - 0.5], passes=3
    )
    points = found.points_px.numpy()
    unit = np.linalg.norm(points[0, topology.LEFT_EYE_OUTER] - points[0, topology.RIGHT_EYE_OUTER])
    back = [width - 1, 0] + points[1, topology.MIRROR] * [-1, 1]
    assert np.linalg.norm(back - points[0], axis=1).mean() < 0.015 * unit
    assert abs((back - points[0]).mean(0)).max() < 0.006 * unit  # half a crop pixel is .005
    assert np.linalg.norm(2 * (points[2] + 0.5) - 0.5 - points[0], axis=1).mean() < 0.015 * unit
    alone = detect_points(network, [photo], [five], passes=3)
    np.testing.assert_allclose(alone.points_px[0], points[0], atol=0.05)
    assert found.face_logit.min() > 3.1


def test_points_of_real_faces_lie_where_people_marked_them(network, shared_data):
    errors, openings = [], []
    for path in sorted((shared_data / "helen" / "testset").glob("*.jpg"))[::14]:
        text = path.with_suffix(".pts").read_text().split("{")[1].split("}")[0]
        truth = np.array(text.split(), float).reshape(68, 2)
        photo = load_image(path)
        near = [f for f in detect(photo) if np.linalg.norm(f.points[2] - truth[30]) < 60]
        if not near:
            continue
        found = detect_points(network, [photo], [near[0].points])
        marks = found.landmarks68_px[0].numpy()
        unit = np.linalg.norm(truth[36] - truth[45])
        errors.append(np.linalg.norm(marks - truth, axis=1)[17:].mean() / unit)
        openings.append([_openness(marks), _openness(truth)])
        for iris, eye in zip(
            found.iris_centres_px[0].numpy(), (truth[36:42], truth[42:]), strict=True
        ):
            assert np.linalg.norm(iris - eye[:6].mean(0)) < 0.15 * unit
    assert len(errors) >= 22
    assert np.mean(errors) < 0.042
    assert np.corrcoef(np.array(openings).T)[0, 1] > 0.85


def _openness(points):
    lids = [
        np.linalg.norm(points[a] - points[b]) for a, b in ((37, 41), (38, 40), (43, 47), (44, 46))
    ]
    return np.mean(lids) / np.linalg.norm(points[36] - points[45])


def test_the_back_of_a_head_has_no_face(network):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    five = np.array([[120, 120], [180, 120], [150, 150], [130, 180], [170, 180]], float)
    assert detect_points(network, [noise], [five]).face_logit < 0


def rezipped(task, **members):
    stream = io.BytesIO()
    with zipfile.ZipFile(task) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.removesuffix(".tflite"), old.read(name)))
    return stream.getvalue()


def damaged_files(task):
    whole = task.read_bytes()
    landmarks = zipfile.ZipFile(task).read(LANDMARKS_FILE)
    other = zipfile.ZipFile(task).read(BLENDSHAPES_FILE)
    yield b""
    yield whole[: len(whole) // 2]
    yield whole[:-1000]
    yield b"PK\x05\x06" + bytes(18)
    yield rezipped(task, face_landmarks_detector=other)
    yield rezipped(task, face_landmarks_detector=landmarks[:100_000])
    yield rezipped(task, face_landmarks_detector=b"\xff\xff\xff\x7fTFL3" + bytes(40))
    yield rezipped(task, face_landmarks_detector=b"\x08\0\0\0TFL3")


def test_a_file_that_is_no_face_mesh_is_one_line(task, tmp_path):
    path = tmp_path / "face_landmarker.task"
    with pytest.raises(UserError, match="cannot be read .*get face-mesh"):
        load_face_mesh(path)
    for data in damaged_files(task):
        path.write_bytes(data)
        with pytest.raises(UserError, match="expected face_landmarker.task") as caught:
            load_face_mesh(path)
        assert "\n" not in str(caught.value)


def test_no_changed_byte_leads_the_reader_astray(task):
    data = zipfile.ZipFile(task).read(BLENDSHAPES_FILE)
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(25):
        wrong = bytearray(data)
        place = (
            generator.integers(0, 4000)
            if generator.random() < 0.5
            else -generator.integers(1, 60_000)
        )
        wrong[place] = generator.integers(256)
        try:
            read_operators(bytes(wrong))
        except ValueError:
            refused += 1
    assert refused > 2
