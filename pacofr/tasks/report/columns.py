"""Columns of the paper's Tables 1 to 5: which measure of which subset stands where."""

from collections.abc import Mapping
from typing import NamedTuple


class Column(NamedTuple):
    """A column of a table."""

    title: str
    subset: str
    measure: str


class TableShape(NamedTuple):
    """A table of the paper."""

    title: str
    columns: tuple[Column, ...]
    summary: Column
    """The column that Table 6 repeats."""
    best_measure: str
    """By which the best epoch is chosen."""
    smaller_is_better: bool


def _classes(*pairs: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(title, "test", name) for title, name in (*pairs, ("Mean", "mean")))


def _errors(*columns: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*column) for column in columns)


LAPA_CLASSES = (
    *(("Skin", "skin"), ("Hair", "hair"), ("L-E", "left eye"), ("R-E", "right eye")),
    *(("U-L", "upper lip"), ("I-M", "inner mouth"), ("L-L", "lower lip"), ("Nose", "nose")),
    *(("L-B", "left brow"), ("R-B", "right brow")),
)
CELEBAMASK_HQ_CLASSES = (
    *(("Face", "skin"), ("Nose", "nose"), ("Glasses", "eyeglasses"), ("L-Eye", "left eye")),
    *(("R-Eye", "right eye"), ("L-Brow", "left brow"), ("R-Brow", "right brow")),
    *(("L-Ear", "left ear"), ("R-Ear", "right ear"), ("I-Mouth", "inner mouth")),
    *(("U-Lip", "upper lip"), ("L-Lip", "lower lip"), ("Hair", "hair"), ("Hat", "hat")),
    *(("Earring", "earring"), ("Necklace", "necklace"), ("Neck", "neck"), ("Cloth", "cloth")),
)

SHAPES: Mapping[str, TableShape] = {
    "lapa": TableShape(
        "Table 1: LaPa, F1 [%]",
        _classes(*LAPA_CLASSES),
        Column("LaPa mean F1", "test", "mean"),
        "mean",
        False,
    ),
    "celebamask-hq": TableShape(
        "Table 2: CelebAMask-HQ, F1 [%]",
        _classes(*CELEBAMASK_HQ_CLASSES),
        Column("CelebAMask-HQ mean F1", "test", "mean"),
        "mean",
        False,
    ),
    "300w": TableShape(
        "Table 3: 300W, NME inter-ocular [%]",
        _errors(
            ("Common", "common", "inter_ocular"),
            ("Challenge", "challenge", "inter_ocular"),
            ("Full", "full", "inter_ocular"),
        ),
        Column("300W NME", "full", "inter_ocular"),
        "inter_ocular",
        True,
    ),
    "aflw-19": TableShape(
        "Table 4: AFLW-19, NME [%]",
        _errors(
            ("diag Full", "full", "diag"),
            ("diag Frontal", "frontal", "diag"),
            ("box Full", "full", "box"),
            ("AUC box 7", "full", "auc_box_7"),
        ),
        Column("AFLW-19 NME diag", "full", "diag"),
        "diag",
        True,
    ),
    "wflw": TableShape(
        "Table 5: WFLW, NME inter-ocular [%]",
        _errors(
            ("Full", "full", "inter_ocular"),
            ("Pose", "pose", "inter_ocular"),
            ("Expr.", "expression", "inter_ocular"),
            ("Illum.", "illumination", "inter_ocular"),
            ("MakeUp", "make-up", "inter_ocular"),
            ("Occl.", "occlusion", "inter_ocular"),
            ("Blur", "blur", "inter_ocular"),
        ),
        Column("WFLW NME", "full", "inter_ocular"),
        "inter_ocular",
        True,
    ),
    "synthetic": TableShape(
        "Rendered heads, F1 [%]",
        _classes(*LAPA_CLASSES, ("Ears", "ears"), ("Neck", "neck")),
        Column("Rendered mean F1", "test", "mean"),
        "mean",
        False,
    ),
    "pts": TableShape(
        "Photos with .pts files, NME [%]",
        _errors(("Inter-ocular", "full", "inter_ocular"), ("Inter-pupil", "full", "inter_pupil")),
        Column("Photos NME", "full", "inter_ocular"),
        "inter_ocular",
        True,
    ),
}
"""By the name of the data set."""
