"""`mica-ext convert-expression`: FLAME expressions <-> ARKit weights."""

from pathlib import Path

from mica_ext.commands.config import ConvertExpressionConfig
from mica_ext.commands.photo_run.outputs import check_writable
from mica_ext.errors import UserError

MIN_FPS, MAX_FPS = 0.001, 1e5
OUT_SUFFIXES = {"arkit": (".csv", ".json", ".npz"), "flame": (".npz", ".json")}


def convert_expression(config: ConvertExpressionConfig) -> None:
    """Write `config.source` in the other language.

    Raises:
        UserError: a file cannot be read or written, holds no expression, or there is no such head.
    """
    if config.to is not None:
        _check_suffix(config.out, config.to)
    check_writable(config.out, overwrite=config.overwrite)
    if not MIN_FPS <= config.fps <= MAX_FPS:
        raise UserError(
            f"--fps: expected {MIN_FPS} to {MAX_FPS:g} frames a second, got {config.fps}"
        )
    if not config.source.exists():
        raise UserError(f"{config.source}: no such file or folder")
    import numpy as np

    from flame_assets.store import load_head
    from mica_ext.conversion.arkit_files import arkit_motion, read_live_link, write_arkit_motion
    from mica_ext.conversion.expression_converter import ExpressionConverter, Residual
    from mica_ext.conversion.fields import read_fields
    from mica_ext.conversion.head_files import head_motion, read_folder, write_head_motion
    from mica_ext.conversion.motion import ArkitMotion, HeadMotion
    from mica_ext.shape_transfer.shape_store import arkit_shapes

    source = config.source
    found: HeadMotion | ArkitMotion | None
    head = None
    if source.suffix.lower() == ".csv" and not source.is_dir():
        found = read_live_link(source)
    else:
        fields = read_folder(source) if source.is_dir() else read_fields(source)
        found = arkit_motion(fields, source)
        if found is None:
            head = load_head(config.head)
            found = head_motion(fields, head.expression_count, source)
        if found is None:
            names = ", ".join(sorted(map(str, fields))[:8])
            raise UserError(
                f"{source}: expected FLAME's expression (expr, exp, expression, ...) or ARKit's "
                f"weights (jawOpen, ...), got {names[:200] or 'nothing'}"
            )
    kind = "arkit" if isinstance(found, ArkitMotion) else "flame"
    target = "flame" if kind == "arkit" else "arkit"
    if config.to == kind:
        raise UserError(f"{source} holds {_title(kind)} already: nothing to convert")
    _check_suffix(config.out, target)
    head = head or load_head(config.head)
    if head.expression_convention == "arkit":
        raise UserError(
            f"--head {config.head}: its expressions are ARKit's weights already; expected a FLAME "
            "or another head without ARKit's names"
        )
    named = arkit_shapes(head, config.source_head)
    converter = ExpressionConverter(head, named.shapes)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    residual: Residual
    if isinstance(found, ArkitMotion):
        motion, residual = converter.to_head(found, eyelids=config.eyelids)
        write_head_motion(config.out, motion, head.name)
        frames = len(motion.jaw)
    else:
        weights, residual = converter.to_arkit(found)
        write_arkit_motion(config.out, weights, config.fps)
        frames = len(weights.weights)
    print(
        f"{source} -> {config.out}: {frames} frame{'s' if frames > 1 else ''} of {head.name}, with "
        f"ARKit's shapes from {named.source} ({named.licence})"
    )
    print(
        f"skin of the face moves {residual.moved.mean():.2f} mm, not explained: mean "
        f"{residual.left.mean():.2f}, 95 % {np.percentile(residual.left, 95):.2f}, worst "
        f"{residual.left.max():.2f} mm (root mean square over the face, per frame)"
    )


def _check_suffix(out: Path, target: str) -> None:
    if out.suffix.lower() not in OUT_SUFFIXES[target]:
        raise UserError(
            f"--out {out}: expected a name ending in {' '.join(OUT_SUFFIXES[target])} for "
            f"{_title(target)}"
        )


def _title(kind: str) -> str:
    return "ARKit weights" if kind == "arkit" else "coefficients of a head"
