"""HeadModel: everything a FLAME-style head is made of, as frozen arrays in metres.

A head is a template mesh, two linear bases (identity and expression), pose correctives, a
five-joint skeleton and landmarks pinned to triangles, as in FLAME (Li et al., "Learning a model of
facial shape and expression from 4D scans", 2017). Sizes belong to the model: V vertices,
F triangles, S identity modes, E expression modes, T texture coordinates.

Frame: x to the subject's left, y up, z out of the face. `head_io` saves and loads one.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType, UnionType
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import AbstractArray, Float32, Int32

from flame_assets.arkit import is_arkit_name

JOINT_NAMES = ("global", "neck", "jaw", "left_eye", "right_eye")
JOINT_PARENTS = (-1, 0, 1, 1, 1)
EYE_JOINTS = (3, 4)
MAX_LENGTH = 10.0
"""Of a mode at weight 1, and of a joint from the origin [m]."""
MAX_WEIGHT = 100.0
"""Of a corner of a triangle, or of a joint for a vertex."""
MAX_TEXT = 2000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of a head

CONTOUR_POINTS = 17
CONTOUR_MAX_DEGREES = 39
CONTOUR_ROWS = 2 * CONTOUR_MAX_DEGREES + 1
"""A contour for each whole degree of yaw: row a for a in 0..39, row 39 - a for a in -1..-39."""

ExpressionConvention = Literal["arkit", "flame", "pca"]
"""What the expression coefficients of a head mean.

arkit: weights in [0, 1] of blend shapes that have ARKit's names; jaw and gaze go with some of them.
flame: FLAME's principal components, unit normal; the jaw is posed by its joint alone.
pca: other principal components or unnamed modes.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class LidContact:
    """Lid vertices that must stay outside the globe of one eye.

    After identity and expression and before skinning, each vertex that is nearer to the (shaped)
    eye joint than its radius is pushed radially out to it: a half-closed lid slides over the globe
    instead of cutting through it.
    """

    joint: int  # 3 left eye, 4 right eye
    vertices: Int32[np.ndarray, " n"]
    radius: Float32[np.ndarray, " n"]  # [m], from the eye joint

    def __post_init__(self) -> None:
        _check_and_freeze_arrays(self)
        if self.joint not in EYE_JOINTS:
            raise ValueError(f"LidContact.joint: expected an eye joint 3 or 4, got {self.joint}")
        if not (self.radius > 0).all():
            raise ValueError("LidContact.radius: expected radii above 0 m")


@dataclass(frozen=True, kw_only=True, eq=False)
class LidClosure:
    """Corrections that make the lids of one eye meet in a blink, whoever blinks and however.

    Lids of different people, or lids that squint or follow the gaze, lie at different heights; a
    fixed displacement closes them for the mean person only. The vertices are moved by
    weight * (basis @ [shape, expression]), where `weight` is the coefficient of `expression`, so
    that the opening of the lids is (1 - weight) times what it would be without the blink.
    """

    expression: str  # name of the closing expression
    vertices: Int32[np.ndarray, " n"]
    basis: Float32[np.ndarray, "n 3 K"]  # [m] per unit of weight and coefficient; K = S + E

    def __post_init__(self) -> None:
        _check_and_freeze_arrays(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadModel:
    """One head model; see the module docstring.

    Arrays are float32 (metres) and int32, and read-only: `torch.tensor(array)` copies them,
    `torch.from_numpy` warns.
    """

    name: str  # "anthro", "flame2020-generic", ...
    version: str
    licence: str  # one line, shown wherever results made with this head are shown

    template: Float32[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "F 3"]  # counter-clockwise seen from outside
    shape_basis: Float32[np.ndarray, "V 3 S"]  # [m] per standard deviation
    expression_basis: Float32[np.ndarray, "V 3 E"]  # [m] per unit of the coefficient
    pose_basis: Float32[np.ndarray, "V 3 36"]  # [m] per entry of (R - I) of neck, jaw and eyes

    joint_regressor: Float32[np.ndarray, "5 V"]
    skinning_weights: Float32[np.ndarray, "V 5"]
    joint_parents: tuple[int, ...] = JOINT_PARENTS

    landmark_triangles: Int32[np.ndarray, " 51"]  # iBUG 17..67
    landmark_barycentric: Float32[np.ndarray, "51 3"]
    contour_triangles: Int32[np.ndarray, "79 17"]  # iBUG 0..16 by neck yaw; landmarks.contour_row
    contour_barycentric: Float32[np.ndarray, "79 17 3"]
    static_contour_triangles: Int32[np.ndarray, " 17"]  # iBUG 0..16 of a frontal head
    static_contour_barycentric: Float32[np.ndarray, "17 3"]

    expression_convention: ExpressionConvention
    expression_names: tuple[str, ...]
    expression_bounds: tuple[float, float] | None = None  # None: unit normal, unbounded

    regions: Mapping[str, Int32[np.ndarray, " _"]] = field(default_factory=dict)  # vertex ids
    colours: Float32[np.ndarray, "V 3"] | None = None  # RGB in [0, 1]
    uv: Float32[np.ndarray, "T 2"] | None = None
    uv_triangles: Int32[np.ndarray, "F 3"] | None = None
    lid_contacts: tuple[LidContact, ...] = ()
    lid_closures: tuple[LidClosure, ...] = ()

    def __post_init__(self) -> None:
        """Check every shape, type and index, then make the arrays read-only."""
        sizes = _check_and_freeze_arrays(self)
        regions = {name: _frozen(ids) for name, ids in self.regions.items()}
        object.__setattr__(self, "regions", MappingProxyType(regions))
        _check_names(self)
        _check_values(self, sizes)

    @property
    def vertices_count(self) -> int:
        """V."""
        return len(self.template)

    @property
    def shape_count(self) -> int:
        """S, the number of identity modes."""
        return self.shape_basis.shape[2]

    @property
    def expression_count(self) -> int:
        """E, the number of expression modes."""
        return self.expression_basis.shape[2]


class ArrayField(NamedTuple):
    """An array of a dataclass as it is annotated."""

    annotation: type[AbstractArray]
    optional: bool  # `... | None`


def array_fields(owner: type) -> dict[str, ArrayField]:
    """The fields of a dataclass that are annotated as arrays, by name."""
    found: dict[str, ArrayField] = {}
    for item in dataclasses.fields(owner):
        options = get_args(item.type) if isinstance(item.type, UnionType) else (item.type,)
        for kind in options:
            if isinstance(kind, type) and issubclass(kind, AbstractArray):
                found[item.name] = ArrayField(kind, optional=NoneType in options)
    return found


def _frozen(array: np.ndarray) -> np.ndarray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _check_and_freeze_arrays(owner: "HeadModel | LidContact | LidClosure") -> dict[str, int]:
    """Compare each array with its annotation; return the sizes that the letters stand for."""
    sizes: dict[str, int] = {}
    for name, (kind, optional) in array_fields(type(owner)).items():
        array = getattr(owner, name)
        if array is None and optional:
            continue
        label = f"{type(owner).__name__}.{name}"
        dtype, dims = kind.dtypes[0], kind.dim_str.split()
        got = type(array).__name__
        if isinstance(array, np.ndarray):
            got = f"{array.dtype}{list(array.shape)}"
        want = f"{dtype}[{', '.join(dims)}]"
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != len(dims):
            raise ValueError(f"{label}: expected {want}, got {got}")
        for letter, size in zip(dims, array.shape, strict=True):
            expected = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
            if size != expected:
                known = ", ".join(f"{k}={v}" for k, v in sizes.items())
                raise ValueError(f"{label}: expected {want} with {known}, got {got}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{label}: expected finite numbers, got NaN or infinity")
        object.__setattr__(owner, name, _frozen(array))
    return sizes


def _check_names(head: HeadModel) -> None:
    if not NAME.fullmatch(head.name):
        raise ValueError(f"HeadModel.name: expected letters, digits and . _ -, got {head.name!r}")
    texts = (head.version, head.licence, *head.expression_names)
    if not all(text.isprintable() and len(text) <= MAX_TEXT for text in texts):
        raise ValueError(
            "HeadModel: expected version, licence and names of expressions of one line, at most "
            f"{MAX_TEXT} characters"
        )
    if head.joint_parents != JOINT_PARENTS:
        raise ValueError(
            f"HeadModel.joint_parents: expected {JOINT_PARENTS}, got {head.joint_parents}"
        )
    if len(set(head.expression_names)) != head.expression_count:
        raise ValueError(
            f"HeadModel.expression_names: expected {head.expression_count} different names, "
            f"got {len(head.expression_names)} ({len(set(head.expression_names))} different)"
        )
    if head.expression_convention not in get_args(ExpressionConvention):
        raise ValueError(
            f"HeadModel.expression_convention: expected {', '.join(get_args(ExpressionConvention))}"
            f", got {head.expression_convention!r}"
        )
    if head.expression_convention == "arkit":
        unknown = [name for name in head.expression_names if not is_arkit_name(name)]
        if unknown:
            raise ValueError(
                f"HeadModel.expression_names: expected ARKit's, got {', '.join(unknown[:4])}"
            )
    if (
        head.expression_bounds is not None
        and not head.expression_bounds[0] < head.expression_bounds[1]
    ):
        raise ValueError(
            f"HeadModel.expression_bounds: expected (low, high), got {head.expression_bounds}"
        )
    if (head.uv is None) != (head.uv_triangles is None):
        raise ValueError("HeadModel.uv and uv_triangles: expected both or neither")
    for name in head.regions:
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(f"HeadModel.regions: expected names of a-z 0-9 _, got {name!r}")


def _check_values(head: HeadModel, sizes: dict[str, int]) -> None:
    def check_ids(label: str, ids: np.ndarray, count: int) -> None:
        if ids.dtype != np.int32:
            raise ValueError(f"HeadModel.{label}: expected int32, got {ids.dtype}")
        if ids.size and (ids.min() < 0 or ids.max() >= count):
            raise ValueError(
                f"HeadModel.{label}: expected ids in 0..{count - 1}, got {ids.min()}..{ids.max()}"
            )

    check_ids("triangles", head.triangles, sizes["V"])
    for name in ("landmark", "contour", "static_contour"):
        check_ids(f"{name}_triangles", getattr(head, f"{name}_triangles"), sizes["F"])
        _check_rows_sum_to_one(f"{name}_barycentric", getattr(head, f"{name}_barycentric"))
    _check_rows_sum_to_one("skinning_weights", head.skinning_weights)
    for name, ids in head.regions.items():
        check_ids(f"regions[{name!r}]", ids, sizes["V"])
    for contact in head.lid_contacts:
        check_ids("lid_contacts", contact.vertices, sizes["V"])
    for closure in head.lid_closures:
        check_ids("lid_closures", closure.vertices, sizes["V"])
        if closure.expression not in head.expression_names:
            raise ValueError(
                f"HeadModel.lid_closures: expected names of expressions, got {closure.expression!r}"
            )
        if closure.basis.shape[2] != head.shape_count + head.expression_count:
            raise ValueError(
                "HeadModel.lid_closures: expected one column per coefficient, "
                f"{head.shape_count + head.expression_count}, got {closure.basis.shape[2]}"
            )
    if head.uv_triangles is not None:
        check_ids("uv_triangles", head.uv_triangles, sizes["T"])
    if head.colours is not None and not (head.colours.min() >= 0 and head.colours.max() <= 1):
        raise ValueError("HeadModel.colours: expected RGB in [0, 1]")
    extent = float(np.ptp(head.template, axis=0).max())
    if not 0.05 <= extent <= 1.0:
        raise ValueError(
            f"HeadModel.template: expected metres (0.05 to 1 across), got {extent:.4g} across"
        )
    joints = head.joint_regressor.astype(np.float64) @ head.template
    for name, lengths in (
        ("shape_basis", head.shape_basis),
        ("expression_basis", head.expression_basis),
        ("pose_basis", head.pose_basis),
        ("joint_regressor", joints),
    ):
        largest = float(max(lengths.max(initial=0), -lengths.min(initial=0)))
        if not largest <= MAX_LENGTH:
            raise ValueError(
                f"HeadModel.{name}: expected lengths of at most {MAX_LENGTH:g} m, got {largest:.3g}"
            )


def _check_rows_sum_to_one(label: str, rows: np.ndarray, tolerance: float = 0.01) -> None:
    if not (np.abs(rows) <= MAX_WEIGHT).all():
        raise ValueError(f"HeadModel.{label}: expected weights of at most {MAX_WEIGHT:g}")
    worst = float(np.abs(rows.sum(-1) - 1).max())
    if worst > tolerance:
        raise ValueError(f"HeadModel.{label}: expected rows that sum to 1, got one {worst:.3g} off")
