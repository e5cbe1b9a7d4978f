"""An ONNX model with SCRFD's signature that sees a face where the photo is bright."""

import numpy as np

STRIDES = (8, 16, 32)
ANCHORS = 2
SIDE = 224


def scrfd_model(outputs: int = 9) -> bytes:
    """One input [1,3,?,?] in the model's units; scores, boxes, points at three strides.

    The score of an anchor is the mean of its cell's pixels above 0, its box reaches 4 strides
    around its centre, and its points are those of an upright face in that box.
    """
    import onnx
    from onnx import TensorProto, helper

    nodes, names, initial = [], [], []

    def constant(name, array):
        initial.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    points = np.array([-1.2, -1.0, 1.2, -1.0, 0, 0.2, -1.0, 1.4, 1.0, 1.4], np.float32)
    rows = {"score": 1, "bbox": 4, "kps": 10}
    values = {"bbox": np.full(4, 4.0, np.float32), "kps": points}
    for stride in STRIDES:
        cells = f"cells{stride}"
        kernel = constant(
            f"mean{stride}", np.full((1, 3, stride, stride), 1 / (3 * stride**2), "f4")
        )
        nodes.append(
            helper.make_node("Conv", ["input.1", kernel], [cells], strides=[stride, stride])
        )
        both = f"both{stride}"
        flat = constant(f"flat{stride}", np.array([-1, 1], np.int64))
        nodes.append(helper.make_node("Relu", [cells], [f"bright{stride}"]))
        nodes.append(helper.make_node("Reshape", [f"bright{stride}", flat], [f"column{stride}"]))
        nodes.append(helper.make_node("Concat", [f"column{stride}"] * ANCHORS, [both], axis=1))
        nodes.append(helper.make_node("Reshape", [both, flat], [f"score{stride}"]))
        for kind, value in values.items():
            zero, one = f"zero_{kind}{stride}", constant(f"value_{kind}{stride}", value[None])
            none = constant(f"none_{kind}{stride}", np.zeros((1, 1), np.float32))
            nodes.append(helper.make_node("Mul", [f"score{stride}", none], [zero]))
            nodes.append(helper.make_node("Add", [zero, one], [f"{kind}{stride}"]))
    for kind in rows:
        names += [(f"{kind}{stride}", rows[kind]) for stride in STRIDES]
    graph = helper.make_graph(
        nodes,
        "scrfd",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"n_{name}", width])
            for name, width in names[:outputs]
        ],
        initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    return model.SerializeToString()
