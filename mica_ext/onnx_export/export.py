"""Export of graphs, with the difference that onnxruntime makes measured before they are kept."""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mica_ext.errors import UserError
from mica_ext.onnx_export.graphs import Graph

OPSET = 18
TOLERANCE = 1e-3
"""Largest difference of an output, in units of its largest value or of 1 if that is less."""
CHECKS = ((1, 52), (3, 75))
"""Batch and free sides of the inputs that are compared; other ones than at the export."""


class ExportedGraph(NamedTuple):
    """One file and what is known of it."""

    file: str
    sha256: str
    input: str
    shape: tuple[int | str, ...]
    normalisation: str
    outputs: dict[str, str]
    difference: float
    """Largest difference between onnxruntime and torch, see `TOLERANCE`."""
    licence: str
    further_inputs: dict[str, dict[str, object]]
    """Inputs after the first one: name, shape, what they hold."""


def require_packages() -> None:
    """Refuse to begin where the packages of the extra are missing.

    Raises:
        UserError: with the command that installs them.
    """
    try:
        import onnx  # noqa: F401  # pyright: ignore[reportMissingImports]
        import onnxruntime  # noqa: F401  # pyright: ignore[reportMissingImports]
        import onnxscript  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"export-onnx needs onnx, onnxscript and onnxruntime ({error}): "
            'pip install -c constraints.txt ".[onnx]"'
        ) from error


def export_graph(graph: Graph, folder: Path) -> ExportedGraph:
    """Write `folder`/NAME.onnx and compare it with the network.

    Raises:
        UserError: onnxruntime's outputs differ by more than `TOLERANCE`.
    """
    path = folder / f"{graph.name}.onnx"
    module = graph.module.eval()
    free = {axis: size for axis, size in enumerate(graph.shape) if isinstance(size, str)}
    dynamic = [{axis: torch.export.Dim.DYNAMIC for axis in free}, *({} for _ in graph.further)]
    names = [name for name, _ in graph.outputs]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            graph.example(2, 64, seed=0),
            dynamo=True,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            input_names=[graph.input, *(other.name for other in graph.further)],
            output_names=names,
            verbose=False,
        )
    assert program is not None
    for axis, name in free.items():
        program.model.graph.inputs[0].shape[axis] = name  # pyright: ignore
    data = program.model_proto.SerializeToString()
    path.write_bytes(data)
    difference = _difference(graph, data)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{graph.name}: onnxruntime's outputs differ from torch's by {difference:.1e}, at most "
            f"{TOLERANCE:g} is allowed; install the versions of constraints.txt"
        )
    return ExportedGraph(
        path.name,
        hashlib.sha256(data).hexdigest(),
        graph.input,
        graph.shape,
        graph.normalisation,
        dict(graph.outputs),
        difference,
        graph.licence,
        {other.name: other._asdict() for other in graph.further},
    )


def _difference(graph: Graph, data: bytes) -> float:
    """The largest of all outputs of all checks."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for number, (batch, side) in enumerate(CHECKS):
        inputs = graph.example(batch, side, seed=number + 1)
        with torch.inference_mode():
            wanted = [output.numpy() for output in graph.module(*inputs)]
        names = (given.name for given in session.get_inputs())
        found = session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))
        for ours, theirs in zip(found, wanted, strict=True):
            ours = np.asarray(ours)
            if ours.shape != theirs.shape:
                return float("inf")
            scale = max(1.0, float(np.abs(theirs).max()))
            worst = max(worst, float(np.abs(ours - theirs).max()) / scale)
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about packages that it does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
