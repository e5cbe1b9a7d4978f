"""Writers of an artificial data set in the benchmark's layout."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from eval_now.data.boxes import Box, save_box
from eval_now.data.layout import BOXES, LISTS, PICTURES, SCAN_LANDMARKS, SCANS, Split
from eval_now.data.scan_degradation import SyntheticScan
from eval_now.geometry.mesh import Mesh
from eval_now.io.files import write_bytes_atomic
from eval_now.io.landmarks import save_landmarks
from eval_now.io.meshes import save_obj, save_ply

PICTURE_ROOT = Path("NoW_Dataset/final_release_version")
TRUTH = "truth"
SCAN_NAME = "natural_head_rotation.000001"


def write_scan(root: Path, subject: str, scan: SyntheticScan) -> None:
    """Write the scan and landmarks of one subject."""
    save_obj(root / SCANS / subject / f"{SCAN_NAME}.obj", scan.mesh)
    path = root / SCAN_LANDMARKS / subject / f"{SCAN_NAME}_picked_points.pp"
    write_bytes_atomic(path, pp_text(scan.landmarks, f"{SCAN_NAME}.obj").encode())


def pp_text(landmarks: Float[np.ndarray, "7 3"], scan_name: str) -> str:
    """Format a MeshLab picked-points file, with the points on lines 9 to 15."""
    points = "".join(
        f' <point x="{x:.6f}" y="{y:.6f}" z="{z:.6f}" active="1" name="{index}"/>\n'
        for index, (x, y, z) in enumerate(landmarks.tolist())
    )
    return (
        "<!DOCTYPE PickedPoints>\n<PickedPoints>\n <DocumentData>\n"
        '  <DateTime time="12:00:00" date="2026-01-01"/>\n  <User name="synthetic"/>\n'
        f'  <DataFileName name="{scan_name}"/>\n  <templateName name=""/>\n </DocumentData>\n'
        f"{points}</PickedPoints>\n"
    )


def write_truth(root: Path, subject: str, head: Mesh, landmarks: Float[np.ndarray, "7 3"]) -> None:
    """Write the clean head and its landmarks [mm] to truth/SUBJECT.ply and .npy."""
    save_ply(root / TRUTH / f"{subject}.ply", head)
    save_landmarks(root / TRUTH / f"{subject}.npy", landmarks)


def write_photo(root: Path, name: str, pixels: UInt8[np.ndarray, "H W 3"], box: Box) -> None:
    """Write one photo (SUBJECT/CHALLENGE/IMG_0001.jpg) and its face box."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=92)
    write_bytes_atomic(root / PICTURE_ROOT / PICTURES / name, buffer.getvalue())
    save_box((root / PICTURE_ROOT / BOXES / name).with_suffix(".npy"), box)


def write_image_list(root: Path, split: Split, names: list[str]) -> None:
    """Write the image list of a split."""
    write_bytes_atomic(root / LISTS[split], "".join(f"{name}\n" for name in names).encode())
