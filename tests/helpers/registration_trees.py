"""Tiny trees of registered meshes in the layouts of CoMA and FaMoS."""

import json
from pathlib import Path

import numpy as np
from helpers.registered_heads import Sequence, sequence

from eval_now.geometry.mesh import Mesh
from eval_now.io.meshes import save_ply
from flame_assets.model.head import HeadModel

COMA_SUBJECTS = ("FaceTalk_170725_00137_TA", "FaceTalk_170728_03272_TA")
COMA_EXPRESSIONS = ("bareteeth", "mouth_open")
FAMOS_SUBJECTS = ("FaMoS_subject_001", "FaMoS_subject_002")
FAMOS_SEQUENCES = ("anger", "head_rotation_left_right")


def write_mesh(path: Path, head: HeadModel, vertices: np.ndarray, scale: float = 1.0) -> None:
    """A registration as the data sets hold them: binary PLY."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_ply(path, Mesh(vertices * scale, head.triangles.astype(np.int64)))


def coma_tree(
    root: Path, head: HeadModel, frames: int = 4, scale: float = 1.0
) -> dict[str, Sequence]:
    """ROOT/COMA_data/SUBJECT/EXPRESSION/EXPRESSION.000001.ply; what each subject is made of."""
    return _tree(root / "COMA_data", head, COMA_SUBJECTS, COMA_EXPRESSIONS, frames, scale)


def famos_tree(root: Path, head: HeadModel, frames: int = 4) -> dict[str, Sequence]:
    """ROOT/registrations/SUBJECT/SEQUENCE/SEQUENCE.000001.ply and a list of training frames."""
    made = _tree(root / "registrations", head, FAMOS_SUBJECTS, FAMOS_SEQUENCES, frames, 1.0)
    rows = [
        [FAMOS_SUBJECTS[0], name, f"{number:06d}"] for name in FAMOS_SEQUENCES for number in (1, 3)
    ]
    name = "seventy_subj__all_seq_frames_per_seq_40_head_rot_120_train.json"
    (root / name).write_text(json.dumps(rows))
    return made


def _tree(root, head, subjects, sequences, frames, scale):
    made = {}
    for number, subject in enumerate(subjects):
        own = sequence(head, frames * len(sequences), seed=number)
        made[subject] = own
        for index, vertices in enumerate(own.meshes):
            name, frame = sequences[index // frames], index % frames + 1
            write_mesh(root / subject / name / f"{name}.{frame:06d}.ply", head, vertices, scale)
    return made
