"""What is exported of a pack: networks with named inputs and outputs, and how inputs are made."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flame_assets.store import load_head
from mica_ext.expression.network import ExpressionNetwork
from mica_ext.expression.weights import load_expression_network, read_expression_config
from mica_ext.identity.network import IdentityNetwork
from mica_ext.identity.weights import load_identity_network, read_identity_config
from mica_ext.landmarks.student.network import INPUT, LandmarkNetwork
from mica_ext.landmarks.student.weights import load_landmark_network, read_landmark_config
from mica_ext.models.pack import Pack
from mica_ext.onnx_export.photo_graphs import PHOTO_PX, FacesGraph, PhotoPointsGraph
from mica_ext.onnx_export.portraits import portrait_in_square, portrait_with_five
from pacofr.faces.align import ARCFACE_PX
from pacofr.faces.detect import DETECTOR
from pacofr.faces.mtcnn.cascade import ONET_PX, RNET_PX, load_mtcnn

MTCNN_INPUT = "RGB, (x - 127.5) / 128 of 0..255"
BATCH, HEIGHT, WIDTH = "batch", "height", "width"
IDENTITY_OUTPUTS = (
    ("embedding", "unit length"),
    ("shape", "identity coefficients of FLAME 2020"),
)
POINTS_OUTPUTS = (
    ("points", "478 points (x, y) in pixels of the crop, centre of the first at 0"),
    ("visibility", "share of each region's points that can be seen"),
    ("error", "expected error of each region's points [% of the eye distance]"),
    ("face", "probability of an upright face"),
)
EXPRESSION_OUTPUTS = (
    ("expression", "coefficients of the head, not yet cut to their bounds"),
    ("jaw_pose", "axis-angle [rad]"),
    ("left_eye_pose", "axis-angle [rad]"),
    ("right_eye_pose", "axis-angle [rad]"),
    ("crop_pose", "head in the crop's frame, axis-angle [rad]"),
    ("crop_camera", "logarithm of the scale, offset of the anchor in half crops"),
    ("shape", "identity coefficients of the head"),
)
"""Names of `Identity` and `BranchOutput`, and what they are; the last one of branches that read
identity."""


class FurtherInput(NamedTuple):
    """An input of fixed shape beside the first one."""

    name: str
    shape: tuple[int, ...]
    holds: str
    """For people."""


class Graph(NamedTuple):
    """One network to export."""

    name: str
    """Of its file, without .onnx."""
    module: nn.Module
    input: str
    shape: tuple[int | str, ...]
    """Of the input; texts name what may be of any size."""
    normalisation: str
    """What the input holds, for people."""
    outputs: tuple[tuple[str, str], ...]
    """Names of the outputs in their order, and what they are."""
    licence: str
    """Of the weights."""
    further: tuple[FurtherInput, ...] = ()
    """Inputs after the first one."""
    pictures: Callable[[int], tuple[Tensor, ...]] | None = None
    """Examples of all inputs by number, where random ones say nothing."""

    def example(self, batch: int, side: int, seed: int) -> tuple[Tensor, ...]:
        """All inputs: pictures, or random in the range of the network's, free sides `side` and a
        little more."""
        if self.pictures is not None:
            return self.pictures(seed)
        free = {BATCH: batch, HEIGHT: side, WIDTH: side + 14}
        sizes = [free[size] if isinstance(size, str) else size for size in self.shape]
        values = torch.rand(sizes, generator=torch.Generator().manual_seed(seed))
        return (values if self.normalisation.endswith("[0, 1]") else 2 * values - 1,)


class PointsGraph(nn.Module):
    """The landmark network with what it tells as users read it."""

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> tuple[Tensor, ...]:
        """Points in pixels of the crop, visibility and error of regions, probability of a face."""
        output = self.network(crops)
        points = (output.points + 1) * (INPUT / 2) - 0.5
        return (
            points,
            output.visibility_logits.sigmoid(),
            output.log_errors.exp(),
            output.face_logit.sigmoid(),
        )


class TupleGraph(nn.Module):
    """A network whose named outputs become a plain tuple."""

    def __init__(self, network: IdentityNetwork | ExpressionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Float[Tensor, "B 3 S S"]) -> tuple[Tensor, ...]:
        """All outputs in their order, without empty ones."""
        return tuple(values for values in self.network(crops) if values.shape[1])


def pack_graphs(pack: Pack) -> list[Graph]:
    """Photo to faces and to points, the networks in them, and the branches that the pack holds.

    Raises:
        UserError: weights or the pack's head cannot be read.
    """
    graphs = [_faces(), _photo_points(pack), *_detector(), _points(pack)]
    if pack.identity is not None:
        about = read_identity_config(pack.identity)
        graphs.append(
            Graph(
                "identity",
                TupleGraph(load_identity_network(pack.identity)),
                "crop",
                (BATCH, 3, ARCFACE_PX, ARCFACE_PX),
                "ArcFace's alignment, RGB in [-1, 1]",
                IDENTITY_OUTPUTS,
                about.licence,
            )
        )
    if pack.expression is not None:
        about = read_expression_config(pack.expression)
        network = load_expression_network(pack.expression, load_head(pack.head))
        window = network.window
        outputs = EXPRESSION_OUTPUTS if about.branch.identity else EXPRESSION_OUTPUTS[:-1]
        graphs.append(
            Graph(
                "expression",
                TupleGraph(network),
                "window",
                (BATCH, 3, window.pixels, window.pixels),
                f"rows and columns {window.start} to {window.start + window.side} of the FFHQ "
                f"crop of 224, reduced by area; RGB in [0, 1]",
                outputs,
                about.licence,
            )
        )
    return graphs


def _detector() -> list[Graph]:
    cascade = load_mtcnn()
    score = ("score", "probability of a face")
    box = ("box", "corrections of left, top, right, bottom in units of the window")
    points = ("points", "five points (x, y) in units of the patch")
    rows = (
        ("pnet", cascade.pnet, (BATCH, 3, HEIGHT, WIDTH), (score, box)),
        ("rnet", cascade.rnet, (BATCH, 3, RNET_PX, RNET_PX), (score, box)),
        ("onet", cascade.onet, (BATCH, 3, ONET_PX, ONET_PX), (score, box, points)),
    )
    return [
        Graph(name, network, "image", shape, MTCNN_INPUT, outputs, DETECTOR.licence)
        for name, network, shape, outputs in rows
    ]


def _faces() -> Graph:
    return Graph(
        "faces",
        FacesGraph(load_mtcnn()),
        "photo",
        (PHOTO_PX, PHOTO_PX, 3),
        f"RGB, 0..255; a photo of which the longer side is {PHOTO_PX}, in the left upper corner of "
        "grey (127)",
        (
            ("boxes", "left, top, right, bottom [px], best first"),
            ("scores", "probability of a face; 0: no face in this row"),
            ("five", "(x, y) of eyes, nose tip, mouth corners [px]"),
        ),
        DETECTOR.licence,
        pictures=portrait_in_square,
    )


def _photo_points(pack: Pack) -> Graph:
    about = read_landmark_config(pack.landmarks)
    return Graph(
        "photo_points",
        PhotoPointsGraph(load_landmark_network(pack.landmarks)),
        "photo",
        (HEIGHT, WIDTH, 3),
        "RGB, 0..255",
        (("points", "478 points (x, y) in the photo's pixels"), *POINTS_OUTPUTS[1:]),
        about.licence,
        (FurtherInput("five", (5, 2), "five points of a face in the photo, as of `faces`"),),
        portrait_with_five,
    )


def _points(pack: Pack) -> Graph:
    about = read_landmark_config(pack.landmarks)
    return Graph(
        "points",
        PointsGraph(load_landmark_network(pack.landmarks)),
        "crop",
        (BATCH, 3, INPUT, INPUT),
        "upright square around the face, 1.3 times its points' box; RGB in [0, 1]",
        POINTS_OUTPUTS,
        about.licence,
    )
