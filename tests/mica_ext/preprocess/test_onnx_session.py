"""Graphs that would take all memory or time, or read other files, are one line."""

import numpy as np
import onnx
import pytest
from helpers.scrfd_toy import scrfd_model
from onnx import TensorProto, helper, numpy_helper

from mica_ext.errors import UserError
from mica_ext.preprocess import onnx_session
from mica_ext.preprocess.onnx_session import BoundedSession

X = {"x": np.ones(3, np.float32)}


def graph(nodes, **constants):
    """From x [3] to y."""
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "graph",
        [value("x", TensorProto.FLOAT, [3])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def test_an_honest_graph_gives_its_outputs():
    session = BoundedSession(graph([helper.make_node("Neg", ["x"], ["y"])]).SerializeToString())
    np.testing.assert_array_equal(session.run(None, X)[0], -X["x"])
    assert [each.name for each in session.get_inputs()] == ["x"]


def test_a_graph_of_twenty_gigabytes_is_refused():
    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"]),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    large = graph(nodes, one=np.ones(1, np.float32), shape=np.array([5_000_000_000]))
    with pytest.raises(UserError, match="cannot be run .*Expand"):
        BoundedSession(large.SerializeToString()).run(None, X)


def test_an_endless_graph_is_stopped(monkeypatch):
    monkeypatch.setattr(onnx_session, "RUN_SECONDS", 0.1)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["v"], ["w"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("v", TensorProto.FLOAT, [3]),
        ],
        [value("on", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [3])],
    )
    loop = helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)
    session = BoundedSession(graph([loop], true=np.array(True)).SerializeToString())
    with pytest.raises(UserError, match="cannot be run .*terminate"):
        session.run(None, X)


@pytest.mark.parametrize("location", ["../../x", "/etc/passwd"])
def test_weights_in_other_files_are_refused(tmp_path, monkeypatch, location):
    monkeypatch.chdir(tmp_path)
    model = onnx.load_from_string(scrfd_model())
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    with pytest.raises(UserError, match="cannot be read .*External data"):
        BoundedSession(model.SerializeToString())
