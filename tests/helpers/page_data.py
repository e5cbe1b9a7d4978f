"""Reads the pages of `mica_ext.viewer` as a browser does: markup, data, scripts."""

import base64
import json
from html.parser import HTMLParser

import numpy as np

VOID = {"meta", "img", "input", "br", "link"}
TYPES = {"float32": "<f4", "int16": "<i2", "uint8": "u1", "uint16": "<u2", "uint32": "<u4"}


class Page(HTMLParser):
    """A page's elements; fails on one that is not closed, or closed twice."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.text = content.decode()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.data: dict = {}
        self.title = ""
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        self.is_data = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            if self.is_data:
                self.data = json.loads(data)
            else:
                self.scripts.append(data)
        elif self.open and self.open[-1] == "title":
            self.title += data

    def buffer(self, index: int) -> np.ndarray:
        entry = self.data["buffers"][index]
        return np.frombuffer(base64.b64decode(entry["data"]), TYPES[entry["type"]])

    def morphed(self, weights=None) -> np.ndarray:
        """Rest shape and weighted targets [V,3], before the joints turn."""
        mesh = self.data["mesh"]
        vertices = self.buffer(mesh["vertices"]).reshape(-1, 3).astype(float)
        for number, target in enumerate(mesh["targets"]):
            weight = target["weight"] if weights is None else weights[number]
            offsets = self.buffer(target["offsets"]).reshape(-1, 3) * target["scale"]
            vertices[self.buffer(target["ids"])] += weight * offsets
        return vertices
