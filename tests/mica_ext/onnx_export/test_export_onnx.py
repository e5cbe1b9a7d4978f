"""`mica-ext export-onnx`: graphs that onnxruntime runs as torch does, and an example without it."""

import hashlib
import json
import shutil
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
import torch
from helpers.command_output import one_line
from torch import nn

from mica_ext.cli import main
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.errors import UserError
from mica_ext.expression.branch import BranchOutput
from mica_ext.identity.network import Identity
from mica_ext.landmarks.detect import detect_points
from mica_ext.landmarks.readers import StudentReader
from mica_ext.landmarks.student.weights import load_landmark_network
from mica_ext.onnx_export.export import export_graph
from mica_ext.onnx_export.graphs import EXPRESSION_OUTPUTS, IDENTITY_OUTPUTS, Graph
from mica_ext.onnx_export.photo_graphs import FacesGraph, PhotoPointsGraph
from mica_ext.onnx_export.portraits import portrait_in_square, portrait_with_five
from pacofr.faces.detect import detect
from pacofr.faces.mtcnn.cascade import load_mtcnn
from pacofr.images.load import load_image

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
NAMES = ["faces", "photo_points", "pnet", "rnet", "onet", "points"]


@pytest.fixture(scope="module")
def unhooked():
    """Without the tests' own type checks, which the exporter would trace."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, unhooked):
    folder = tmp_path_factory.mktemp("export") / "onnx"
    assert main(["export-onnx", "auto", str(folder)]) == 0
    return folder


def shape_of(given):
    return [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim]


@pytest.mark.slow
def test_the_manifest_tells_of_each_graph(exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["opset"] == 18
    assert list(manifest["graphs"]) == NAMES
    for name, about in manifest["graphs"].items():
        data = (exported / about["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == about["sha256"]
        assert about["difference"] < 1e-4
        assert about["licence"]
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
        assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
        given, *further = model.graph.input
        assert (given.name, shape_of(given)) == (about["input"], about["shape"])
        others = {name: other["shape"] for name, other in about["further_inputs"].items()}
        assert {one.name: shape_of(one) for one in further} == others
        assert [output.name for output in model.graph.output] == list(about["outputs"]), name


@pytest.mark.slow
def test_the_example_finds_the_points_without_torch(exported, tmp_path):
    photo = shutil.copy(EXAMPLE, tmp_path / "photo.jpg")
    script = str(exported / "photo_to_points.py")
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'cv2', 'mica_ext', 'pacofr'): sys.modules[name] = None\n"
        f"sys.argv = ['x', {str(photo)!r}]\nrunpy.run_path({script!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("478 points, probability of a face 1.00")
    found = np.loadtxt(tmp_path / "photo.jpg.points.txt")
    image = load_image(EXAMPLE)
    ours = detect_points(StudentReader(), image, detect(image)[0]).points_px.numpy()
    eyes = np.linalg.norm(ours[33] - ours[263])
    assert np.linalg.norm(found - ours, axis=1).mean() < 0.005 * eyes


def test_whole_steps_find_what_the_product_finds():
    """The graphs with pyramid, suppression and crops in them, against the product's own."""
    faces, points = FacesGraph(load_mtcnn()).eval(), PhotoPointsGraph(load_landmark_network(None))
    (square,) = portrait_in_square(1)
    with torch.inference_mode():
        boxes, scores, five = faces(square)
    ours = detect(square.numpy())
    assert list(scores > 0.9) == [True] + [False] * 31
    assert not boxes[scores == 0].any()
    eyes = np.linalg.norm(ours[0].points[1] - ours[0].points[0])
    assert np.linalg.norm(five[0].numpy() - ours[0].points, axis=1).max() < 0.05 * eyes
    photo, five = portrait_with_five(1)
    with torch.inference_mode():
        found, visibility, _, face = points.eval()(photo, five)
    wanted = detect_points(StudentReader(), photo.numpy(), detect(photo.numpy())[0])
    assert float((found - wanted.points_px).norm(dim=1).mean()) < 0.005 * eyes
    torch.testing.assert_close(visibility, wanted.visibility, atol=0.05, rtol=0)
    assert abs(float(face) - wanted.confidence) < 0.02


TWO = (("y", "features"), ("mean", "of them"))


class Both(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        y = self.network(x)
        return y, y.mean((2, 3))


class Noise(nn.Module):
    def forward(self, x):
        return (x + torch.rand_like(x),)


def test_an_exported_graph_takes_other_sizes(tmp_path, unhooked):
    """A convolution, compared at sizes that it was not exported with."""
    shape = ("batch", 3, "height", "width")
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.PReLU(2))
    done = export_graph(Graph("net", Both(network), "x", shape, "[0, 1]", TWO, "none"), tmp_path)
    assert done.difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [output.name for output in session.get_outputs()] == ["y", "mean"]
    image = torch.rand(5, 3, 20, 31)
    found = session.run(None, {"x": image.numpy()})
    for ours, theirs in zip(found, Both(network)(image), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-5)


def test_outputs_that_differ_are_refused(tmp_path, unhooked):
    graph = Graph("noise", Noise(), "x", ("batch", 4), "RGB in [0, 1]", (("y", ""),), "none")
    with pytest.raises(UserError, match="noise: onnxruntime's outputs differ from torch's by"):
        export_graph(graph, tmp_path)


def test_outputs_have_the_names_of_the_networks_results():
    assert tuple(name for name, _ in IDENTITY_OUTPUTS) == Identity._fields
    assert tuple(name for name, _ in EXPRESSION_OUTPUTS) == BranchOutput._fields


def test_mistakes_are_one_line(tmp_path, capsys):
    for arguments, words in (
        (("auto", tmp_path), "exists; give --overwrite"),
        (("auto", tmp_path, "--overwrite"), "holds no manifest.json of this command"),
        ((tmp_path / "none", tmp_path / "out"), "expected a model pack"),
    ):
        assert main(["export-onnx", *map(str, arguments)]) == 2
        assert words in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
