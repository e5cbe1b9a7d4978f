"""What becomes of ICT-FaceKit's ARKit shapes, carried to another head and back.

    python tests/bench/arkit_round_trip.py [--ict PATH] [--head anthro]

Prints, for each shape, the distances [mm] between ICT's own and the returned displacements of the
face's vertices that move by more than a tenth of the largest: mean and 99th percentile, beside the
largest displacement; then the lids' gaps in a blink and the lips' in jawOpen with mouthClose, on
the head in between.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from flame_assets.arkit import EXPRESSIONS
from flame_assets.formats.ict import PARTS, convert_ict
from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import load_head
from mica_ext.shape_transfer.arkit_shapes import carry_shapes, own_arkit_offsets
from mica_ext.shape_transfer.face_surface import FaceSurface
from mica_ext.shape_transfer.openings import Edges, lid_edges, lip_edges

DATA = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
MOVING = 0.1
"""Of the largest displacement."""


def gap_mm(edges: Edges, vertices: np.ndarray) -> str:
    """Mean and largest vertical gap."""
    gaps = 1000 * edges.gaps(vertices)[:, 1]
    return f"{gaps.mean():5.2f} (largest {gaps.max():5.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ict", type=Path, default=DATA, help="ict_facekit_light.npz")
    parser.add_argument("--head", default="anthro", help="in between: a name or a folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ict = HeadDecoder(convert_ict(options.ict))
    source = FaceSurface.of_head(ict)
    other = FaceSurface.of_head(HeadDecoder(load_head(options.head)))
    own = own_arkit_offsets(ict).astype(np.float64)
    there = carry_shapes(source, other, source.vertices + own).offsets
    back = carry_shapes(other, source, other.vertices + there).offsets
    rows = []
    print("shape                  mean   99 %  moves [mm]")
    for name, truth, found in zip(EXPRESSIONS, own, back, strict=True):
        size = 1000 * np.linalg.norm(truth, axis=1)[PARTS["face"]]
        error = 1000 * np.linalg.norm(found - truth, axis=1)[PARTS["face"]]
        error = error[size > MOVING * size.max()]
        rows.append((error.mean(), np.percentile(error, 99), size.max()))
        print(f"{name:20} {rows[-1][0]:6.2f} {rows[-1][1]:6.2f} {rows[-1][2]:7.1f}")
    mean, worst = np.mean(rows, 0), np.max(rows, 0)
    print(f"{'all: mean':20} {mean[0]:6.2f} {mean[1]:6.2f} {mean[2]:7.1f}")
    print(f"{'all: largest':20} {worst[0]:6.2f} {worst[1]:6.2f} {worst[2]:7.1f}")
    for eye, side in ((0, "Left"), (1, "Right")):
        edges, row = lid_edges(other, eye), EXPRESSIONS.index(f"eyeBlink{side}")
        print(f"eyeBlink{side}, lids apart: {gap_mm(edges, other.vertices)} mm open, "
              f"{gap_mm(edges, other.vertices + there[row])} mm closed")  # fmt: skip
    opened, closed = (there[EXPRESSIONS.index(name)] for name in ("jawOpen", "mouthClose"))
    lips = lip_edges(other)
    print(f"jawOpen, lips apart: {gap_mm(lips, other.vertices + opened)} mm, with mouthClose "
          f"{gap_mm(lips, other.vertices + opened + closed)} mm")  # fmt: skip


if __name__ == "__main__":
    main()
