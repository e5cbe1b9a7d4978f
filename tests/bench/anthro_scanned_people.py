"""Makes `flame_assets/anthro/identity/scanned_people.json` from ICT-FaceKit's identity model.

    python tests/bench/anthro_scanned_people.py [--ict PATH] [--out FILE]

ICT's mean is laid on Anthro's neutral surface (rigid, closest visible points); the surface point of
each station then takes the displacement of the nearest ICT surface point in every identity mode.
Rigid motion of face and skull is removed from each mode, the mirror-symmetric part is kept, and its
covariance over all stations is written as its leading components.
"""

import argparse
import json
from pathlib import Path

import igl
import numpy as np
from anthro_ict_fit import (
    Ict,
    Model,
    igl_barycentric,
    load_ict,
    on_anthro,
)

from flame_assets.anthro import build_anthro
from flame_assets.anthro.surface.control_set import control_set
from flame_assets.anthro.surface.thin_plate import field_basis

DATA = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_facekit_light.npz"
OUT = Path(__file__).resolve().parents[2] / "flame_assets/anthro/identity/scanned_people.json"
# fmt: off
STATIONS = [
    "forehead_up", "forehead_mid", "fore_l1", "fore_l2", "front_temp", "side_fr", "temple",
    "glabella", "sellion", "brow_med", "brow_mid", "brow_peak", "brow_tail", "sulc", "rim_lat",
    "med_canth", "lid0", "lid4", "lid8", "lid12", "tear2", "rhinion", "pronasale", "tip_s",
    "wall_m", "alare", "ac", "sbal", "subnasale", "malar", "malar_lat", "ck_med", "zyg_ant",
    "zygion", "cheek", "cheek_lat", "nasolab", "nasolab_low", "buccal", "buccal2", "parotid",
    "masseter", "gonion", "jaw_mid", "jaw_front", "ls", "cph", "vbU2", "stoU", "stoL", "vbL2",
    "li", "cheilion", "mario", "sublabiale", "chin_lat", "pogonion", "menton", "subment1",
]
# fmt: on
COMPONENTS = 32
UNIT = 0.01
"""mm per integer of the file."""
NOTICE = (
    "Figures derived from ICT-FaceKit (https://github.com/ICT-VGL/ICT-FaceKit), MIT License, "
    "Copyright (c) 2020 USC Institute for Creative Technologies; the licence text stands in "
    "flame_assets/anthro/identity/ICT-FACEKIT-LICENSE"
)


def without_rigid(points: np.ndarray, modes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Modes [k, v, 3] less the small rigid motion that best explains them at `chosen` points."""
    offset = points - points[chosen].mean(axis=0)
    turns = [np.cross(axis, offset) for axis in np.eye(3)]
    shifts = [np.tile(axis, (len(points), 1)) for axis in np.eye(3)]
    motions = np.stack([*shifts, *turns], 2)  # [v, 3, 6]
    columns = motions[chosen].reshape(-1, 6)
    wanted = modes[:, chosen].reshape(len(modes), -1).T
    coefficients = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    return modes - np.einsum("vim,mk->kvi", motions, coefficients)


def station_modes(ict: Ict, stations: list[str]) -> np.ndarray:
    """Mirror-symmetric displacement [k, s, 3] of the stations in each mode of ICT [mm]."""
    controls = control_set()
    surface = field_basis(controls, controls.domain) @ controls.positions
    skull = np.intersect1d(ict.triangles, np.flatnonzero(ict.neutral[:, 1] > -100))
    modes = without_rigid(ict.neutral, ict.identity, skull)
    triangles = np.ascontiguousarray(ict.triangles)
    _, face, closest = igl.point_mesh_squared_distance(surface, ict.neutral, triangles)
    corners = triangles[face]
    weights = igl_barycentric(closest, *(ict.neutral[corners[:, k]] for k in range(3)))
    moved = np.einsum("kvci,vc->kvi", modes[:, corners], weights)
    moved = 0.5 * (moved + moved[:, controls.mirror] * [-1, 1, 1])
    return moved[:, [controls.index[name] for name in stations]]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ict", type=Path, default=DATA, help="ict_facekit_light.npz")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    ict = on_anthro(load_ict(options.ict), Model(build_anthro()))
    modes = station_modes(ict, STATIONS)
    flat = modes.reshape(len(modes), -1).T
    left, size, _ = np.linalg.svd(flat, full_matrices=False)
    factor = left[:, :COMPONENTS] * size[:COMPONENTS]
    factor *= np.sign(factor.sum(axis=0))
    rest = float(np.sqrt((size[COMPONENTS:] ** 2).sum() / len(flat)))
    rows = np.rint(factor / UNIT).astype(int).reshape(len(STATIONS), 3, COMPONENTS)
    lines = ",\n".join(
        f'  "{name}": {row.tolist()}' for name, row in zip(STATIONS, rows, strict=True)
    )
    head = json.dumps({"licence": NOTICE, "unit_mm": UNIT, "residual_mm": round(rest, 3)})
    options.out.write_text(head[:-1] + ',\n "factor": {\n' + lines + "\n}}\n", encoding="utf-8")
    share = 1 - (size[COMPONENTS:] ** 2).sum() / (size**2).sum()
    print(f"{len(STATIONS)} stations; {COMPONENTS} components: {100 * share:.1f} % of variance")
    print(f"left out: {rest:.2f} mm per coordinate; {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
