"""Self-contained HTML pages: style, markup, data and scripts in one file that asks no network.

The scripts and the WebGL renderer are this package's own (`assets/`), plain JavaScript.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
DRAWING = ("decode.js", "deform.js", "camera.js", "renderer.js")
"""Scripts that every page begins with."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""Content security policy: the browser itself refuses any request."""


def page_bytes(
    data: Mapping[str, object], *, title: str, markup: str, styles: Sequence[str], script: str
) -> bytes:
    """A page of the scripts `DRAWING` and `script`, which finds `data` in the element "scene".

    Args:
        data: for JSON.
        title: of the page.
        markup: name of the body's file in `assets`.
        styles: names of style sheets there.
        script: name of the last script there.
    """
    scripts = "\n".join(_asset(name) for name in (*DRAWING, script))
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title)}</title>
<style>
{"".join(_asset(name) for name in styles)}</style>
</head>
<body>
{_asset(markup)}<script type="application/json" id="scene">{_json(data)}</script>
<script>
"use strict";
{scripts}</script>
</body>
</html>
"""
    return text.encode()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _json(data: Mapping[str, object]) -> str:
    """JSON that cannot end its script element: text in it may be anybody's."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
