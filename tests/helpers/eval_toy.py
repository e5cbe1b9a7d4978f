"""A NoW-like set of three subjects with known truth, its predictions and its evaluation."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.spatial.transform import Rotation

from eval_now.config import EvalConfig
from eval_now.data.boxes import Box
from eval_now.data.scan_degradation import ScanDegradation, degrade_to_scan
from eval_now.data.synthetic import write_image_list, write_photo, write_scan, write_truth
from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_obj
from eval_now.predictions.predictors import Predict
from eval_now.run import run

NAMES = [
    f"S_{subject}_TA/{challenge}/IMG_{subject}{number}.jpg"
    for subject in (1, 2, 3)
    for number, challenge in enumerate(("multiview_neutral", "selfie"))
]


def face(seed: int) -> tuple[Mesh, np.ndarray]:
    """A face-like surface [mm] and its seven landmarks, which lie on it."""
    random = np.random.default_rng(seed)
    amounts = random.normal(0, 1, 6)

    def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        bowl = 60 - (x / 11) ** 2 - (y / 14) ** 2
        nose = 25 * np.exp(-((x / 11) ** 2) - ((y + 8) / 14) ** 2)
        bumps = sum(
            amount * np.cos(x / (14 + k) + k) * np.cos(y / (17 - k) + k * amount)
            for k, amount in enumerate(amounts)
        )
        lopsided = 2 * np.exp(-(((x - 30) / 15) ** 2) - ((y + 30) / 20) ** 2)
        return bowl + nose + bumps + lopsided

    x, y = np.meshgrid(np.linspace(-85, 85, 45), np.linspace(-110, 100, 55))
    vertices = np.stack([x, y, height(x, y)], axis=2).reshape(-1, 3)
    corner = (np.arange(54)[:, None] * 45 + np.arange(44)).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 45], axis=1),
            np.stack([corner + 1, corner + 46, corner + 45], axis=1),
        ]
    )
    flat = np.array(
        [[-45, 32], [-16, 31], [17, 31], [46, 32], [0, -20], [-26, -48], [27, -48]], float
    )
    return Mesh(vertices, triangles), np.column_stack([flat, height(flat[:, 0], flat[:, 1])])


def write_now(root: Path, names: list[str] = NAMES) -> Path:
    """A data set of the subjects in `names`, with the clean faces under truth/."""
    for subject in sorted({int(name[2]) for name in names}):
        mesh, landmarks = face(subject)
        unseen = "a side" if subject == 2 else "nothing"
        degradation = ScanDegradation(
            max_edge_mm=8.0,
            spikes=5,
            loose_points=5,
            floating_patch=subject == 3,
            unseen=unseen,
        )
        scan = degrade_to_scan(mesh, landmarks, subject, degradation)
        write_scan(root, f"S_{subject}_TA", scan)
        write_truth(root, f"S_{subject}_TA", mesh, landmarks)
    for name in names:
        write_photo(root, name, np.full((64, 48, 3), 128, np.uint8), Box(5, 6, 40, 50))
    write_image_list(root, "val", names)
    write_image_list(root, "test", NAMES[:2])
    return root


def write_predictions(folder: Path, *, unit_mm: float = 1.0, names: list[str] = NAMES) -> Path:
    """The truth itself, turned and in some unit, as a person would hand it in."""
    turn = Rotation.from_rotvec([0.3, -0.2, 0.1]).as_matrix()
    for name in names:
        mesh, landmarks = face(int(name[2]))
        moved = Mesh((mesh.vertices @ turn.T + [5, 6, 7]) / unit_mm, mesh.triangles)
        base = folder / name.removesuffix(".jpg")
        save_obj(base.with_suffix(".obj"), moved, decimals=7)
        save_landmarks(base.with_suffix(".npy"), (landmarks @ turn.T + [5, 6, 7]) / unit_mm)
    return folder


class ToyPredictors:
    """Predictors registered in the entry-point group, as an installed package registers them."""

    current: Predict

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        info = folder / "toy_predictors-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: toy-predictors\nVersion: 1.0\n"
        )
        target = f"{__name__}:load_toy_predictor"
        entries = "".join(f"{name} = {target}\n" for name in ("mine", "other"))
        (info / "entry_points.txt").write_text(f"[eval_now.predictors]\n{entries}")
        monkeypatch.syspath_prepend(folder)

    def use(self, predict: Predict) -> None:
        """Let `--predictor mine` and `--predictor other` be this one."""
        ToyPredictors.current = staticmethod(predict)


def load_toy_predictor(argument: str | None) -> Predict:
    """The factory behind the entry points."""
    assert argument is None
    return ToyPredictors.current


def evaluate(now: Path, **settings):
    console = Console(width=100, record=True)
    settings.setdefault("jobs", 1)
    return run(EvalConfig(dataset=now, **settings), console), console.export_text()
