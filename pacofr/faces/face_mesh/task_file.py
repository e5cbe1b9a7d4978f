"""Face Mesh's weights out of `face_landmarker.task`, a zip of .tflite files (Apache-2.0, Google).

Weights enter a module in the order in which the file's graph uses them; each must have the shape
that the module expects, so another version's file is refused.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from flame_assets.inert.files import ReadError
from flame_assets.inert.zips import ZipReader
from pacofr.errors import UserError
from pacofr.faces.face_mesh.flatbuffer import Operator, read_operators
from pacofr.faces.face_mesh.network import Block, FaceMeshNetwork
from pacofr.utils.bounded import open_regular
from pacofr.utils.budgets import TASK_BYTES

LANDMARKS_FILE = "face_landmarks_detector.tflite"
CONV_2D, DEPTHWISE_CONV_2D, PRELU = 3, 4, 54
"""Values of TensorFlow Lite's `BuiltinOperator`."""
ABOUT = (
    "expected face_landmarker.task of Face Mesh V2 (float16, version 1); "
    "fetch it with `flame-assets get face-mesh`"
)


def load_face_mesh(path: Path) -> FaceMeshNetwork:
    """The landmark network of a .task file, ready for inference.

    Raises:
        UserError: the file cannot be read, is cut short or is of another version.
    """
    network = FaceMeshNetwork()
    fill_network(network, _face_mesh_parameters(network), path, LANDMARKS_FILE)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fill_network(
    network: nn.Module, parameters: Iterator[tuple[int, Tensor]], path: Path, member: str
) -> None:
    """Put the constants of a .tflite file into a network, and ready it for inference.

    Args:
        network: where the parameters belong.
        parameters: in the order of the file's graph, each with the code of its operator.
        path: the .task file.
        member: the .tflite file in it.

    Raises:
        UserError: the file cannot be read, is cut short or is of another version.
    """
    try:
        constants = _constants(read_operators(_read_member(path, member)))
        with torch.no_grad():
            for (kind, target), (code, values) in zip(parameters, constants, strict=True):
                if kind != code:
                    raise ValueError(f"operator {code} stands where {kind} is expected")
                target.copy_(torch.from_numpy(_torch_order(code, values, target)))
    except ReadError as error:
        raise UserError(f"{path} {error}: {ABOUT}") from error
    except ValueError as error:
        raise UserError(
            f"{path}: {member} is damaged or of another kind ({error}): {ABOUT}"
        ) from error
    network.eval().requires_grad_(False)


def _read_member(path: Path, member: str) -> bytes:
    try:
        with open_regular(path, TASK_BYTES) as file:
            return ZipReader(file, TASK_BYTES).read(member, TASK_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): {ABOUT}") from error


def _constants(operators: list[Operator]) -> Iterator[tuple[int, Float32[np.ndarray, "..."]]]:
    """Operator code and values of every constant, scalars left out."""
    for code, constants in operators:
        yield from ((code, values) for values in constants if values.ndim)


def _torch_order(
    code: int, values: Float32[np.ndarray, "..."], target: Tensor
) -> Float32[np.ndarray, "..."]:
    """TensorFlow's axes (out, height, width, in) in torch's order, checked against `target`."""
    if values.ndim == 4 and code == CONV_2D:
        values = values.transpose(0, 3, 1, 2)
    elif values.ndim == 4 and code == DEPTHWISE_CONV_2D:
        values = values.transpose(3, 0, 1, 2)
    shape = tuple(target.shape)
    if [n for n in values.shape if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"weights of shape {values.shape} stand where {shape} is expected")
    return np.ascontiguousarray(values).reshape(shape)


def _face_mesh_parameters(network: FaceMeshNetwork) -> Iterator[tuple[int, Tensor]]:
    yield from _layer(CONV_2D, network.stem)
    yield PRELU, network.stem_prelu.weight
    for block in network.blocks:
        assert isinstance(block, Block)
        yield from _layer(CONV_2D, block.reduce)
        yield PRELU, block.reduce_prelu.weight
        yield from _layer(DEPTHWISE_CONV_2D, block.depthwise)
        yield from _layer(CONV_2D, block.expand)
        yield PRELU, block.prelu.weight
    for head in (network.unused_head, network.face_head, network.points_head):
        yield from _layer(CONV_2D, head)


def _layer(code: int, layer: nn.Conv2d | nn.Linear) -> Iterator[tuple[int, Tensor]]:
    yield code, layer.weight
    assert layer.bias is not None
    yield code, layer.bias
