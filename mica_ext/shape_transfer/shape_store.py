"""Carried ARKit shapes, computed once per pair of heads and kept in the store.

    <home>/cache/arkit-<target>-from-<source>-<key>/    shapes.safetensors and made_from.json

The key changes with the code that carries shapes; the fingerprints of both heads stand in the JSON
and are compared, for names do not identify heads.
"""

import contextlib
import hashlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flame_assets.arkit import EXPRESSIONS
from flame_assets.errors import UserError as AssetError
from flame_assets.files import write_folder
from flame_assets.model.fingerprint import Fingerprint, differing, fingerprint
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder
from flame_assets.store import home, installed_heads, load_head
from mica_ext.shape_transfer.arkit_shapes import (
    ArkitShapes,
    LidCorrection,
    carry_arkit_shapes,
    own_arkit_offsets,
)
from mica_ext.shape_transfer.face_surface import FaceSurface
from pacofr.errors import UserError as ContentError
from pacofr.utils.config_json import from_json, read_json

LOGGER = logging.getLogger(__name__)
SOURCES = ("ict", "anthro")
"""Heads that shapes are carried from; the first that is there is taken."""
SHAPES, MADE_FROM = "shapes.safetensors", "made_from.json"
_LOCK = threading.Lock()


class NamedShapes(NamedTuple):
    """Shapes of a head and whose they are."""

    shapes: ArkitShapes
    source: str
    """Name of the head that they were carried from; the head's own if it has ARKit's."""
    licence: str
    """Of that head."""


class _MadeFrom(NamedTuple):
    """Contents of made_from.json."""

    source: str
    target: str
    licence: str
    """Of the source."""
    source_fingerprint: Fingerprint
    target_fingerprint: Fingerprint
    sha256: str
    """Of the shapes' file."""


def arkit_shapes(head: HeadModel, source: str | None = None) -> NamedShapes:
    """ARKit's shapes of `head`: its own, or carried from `source` (by default ICT-FaceKit where
    it is installed, else Anthro).

    Raises:
        UserError: the source is missing or has no ARKit shapes, or a head is no face.
    """
    with _LOCK:
        return _arkit_shapes(head, source)


@lru_cache(maxsize=2)
def _arkit_shapes(head: HeadModel, source: str | None) -> NamedShapes:
    if head.expression_convention == "arkit":
        shapes = ArkitShapes(EXPRESSIONS, own_arkit_offsets(HeadDecoder(head)), ())
        return NamedShapes(shapes, head.name, head.licence)
    FaceSurface.of_head(HeadDecoder(head))  # no face: said before the source is built
    name = source or next(n for n in SOURCES if n == "anthro" or n in installed_heads())
    origin = load_head(name)
    if origin.expression_convention != "arkit":
        raise AssetError(
            f"expected a head with ARKit's shapes ({', '.join(SOURCES)}), got {name}, whose "
            "expressions have other names"
        )
    made = _MadeFrom(
        origin.name, head.name, origin.licence, fingerprint(origin), fingerprint(head), ""
    )
    folder = home() / "cache" / f"arkit-{head.name}-from-{origin.name}-{_code_key()}"
    kept = _load(folder, made)
    if kept is None:
        with _progress(head.name, origin.name) as advance:
            kept = carry_arkit_shapes(HeadDecoder(origin), HeadDecoder(head), advance)
        try:
            _save(folder, kept, made)
        except (AssetError, OSError) as error:
            LOGGER.warning("ARKit's shapes of %s are made anew each time: %s", head.name, error)
    return NamedShapes(kept, origin.name, origin.licence)


def _save(folder: Path, shapes: ArkitShapes, made: _MadeFrom) -> None:
    from safetensors.numpy import save

    arrays = {"offsets": shapes.offsets}
    for index, lid in enumerate(shapes.lids):
        arrays |= {f"gaps{index}": lid.gaps, f"influence{index}": lid.influence}
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    about = made._replace(sha256=hashlib.sha256(data).hexdigest())._asdict()
    for name in ("source_fingerprint", "target_fingerprint"):
        about[name] = about[name]._asdict()
    rows = [EXPRESSIONS[lid.row] for lid in shapes.lids]

    def fill(place: Path) -> None:
        (place / SHAPES).write_bytes(data)
        text = json.dumps(about, indent=1) + "\n"
        (place / MADE_FROM).write_text(text, encoding="utf-8")

    if rows != ["eyeBlinkLeft", "eyeBlinkRight"][: len(rows)]:
        raise ValueError(f"expected the lids of both eyes, got {rows}")
    write_folder(folder, fill)


def _load(folder: Path, wanted: _MadeFrom) -> ArkitShapes | None:
    """The shapes of a folder; None if it is missing, damaged or of other heads."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        about = from_json(_MadeFrom, read_json(folder / MADE_FROM, "shapes"), str(folder))
        if differing(about.source_fingerprint, wanted.source_fingerprint) or differing(
            about.target_fingerprint, wanted.target_fingerprint
        ):
            return None
        data = (folder / SHAPES).read_bytes()
        if hashlib.sha256(data).hexdigest() != about.sha256:
            return None
        arrays = load(data)
        lids = [
            LidCorrection(EXPRESSIONS.index(name), arrays[f"gaps{k}"], arrays[f"influence{k}"])
            for k, name in enumerate(("eyeBlinkLeft", "eyeBlinkRight"))
            if f"gaps{k}" in arrays
        ]
        return ArkitShapes(EXPRESSIONS, arrays["offsets"], tuple(lids))
    except (ContentError, OSError, SafetensorError, KeyError):
        return None


@contextlib.contextmanager
def _progress(target: str, source: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line in the log elsewhere."""
    text = f"ARKit's shapes from {source} to {target}, once"
    if sys.stderr is None or not sys.stderr.isatty():
        LOGGER.info(text)
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=len(EXPRESSIONS))
        yield lambda count: bar.advance(task, count)


def _code_key() -> str:
    """Changes with the code that carried shapes depend on."""
    rooms = Path(__file__).parent, Path(__file__).parents[1] / "fitting" / "correspondence"
    digest = hashlib.sha256()
    for path in sorted(p for room in rooms for p in room.iterdir() if p.suffix in (".py", ".json")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
