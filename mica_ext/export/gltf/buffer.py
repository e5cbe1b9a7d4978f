"""The binary part of a glTF file and the JSON entries that describe it."""

import numpy as np
from jaxtyping import Float32, Shaped

FLOAT, UNSIGNED_INT, UNSIGNED_BYTE = 5126, 5125, 5121
VERTICES, INDICES = 34962, 34963
"""Targets of buffer views."""
_COMPONENTS = {np.dtype("<f4"): FLOAT, np.dtype("<u4"): UNSIGNED_INT, np.dtype("u1"): UNSIGNED_BYTE}


class Buffer:
    """Grows by arrays; every one starts at a multiple of four bytes."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, object]] = []

    def add_view(self, content: bytes, target: int | None = None) -> int:
        """Append bytes; returns the index of their view."""
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.content += content
        self.content += bytes(-len(self.content) % 4)
        self.views.append(view)
        return len(self.views) - 1

    def add(
        self,
        array: Shaped[np.ndarray, "..."],
        kind: str,
        target: int | None = None,
        *,
        extent: bool = False,
    ) -> int:
        """Append an array of float32, uint32 or uint8; returns the index of its accessor."""
        accessor: dict[str, object] = {
            "bufferView": self.add_view(np.ascontiguousarray(array).tobytes(), target),
            "componentType": _COMPONENTS[array.dtype],
            "count": len(array),
            "type": kind,
        }
        if extent:
            accessor |= _extent(array)
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_sparse(self, values: Float32[np.ndarray, "N 3"], least: float, *, extent: bool) -> int:
        """Append rows of which only those with an entry beyond `least` are stored."""
        moved = np.flatnonzero(np.abs(values).max(axis=1) > least)
        if len(moved) == 0:
            moved = np.zeros(1, int)  # glTF wants at least one entry
        stored = np.ascontiguousarray(values[moved], dtype=np.float32)
        sparse = {
            "count": len(moved),
            "indices": {
                "bufferView": self.add_view(moved.astype(np.uint32).tobytes()),
                "componentType": UNSIGNED_INT,
            },
            "values": {"bufferView": self.add_view(stored.tobytes())},
        }
        accessor: dict[str, object] = {"componentType": FLOAT, "count": len(values)}
        accessor |= {"type": "VEC3", "sparse": sparse}
        if extent:
            shown = np.zeros_like(values)
            shown[moved] = stored
            accessor |= _extent(shown)
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _extent(array: Shaped[np.ndarray, "N k"]) -> dict[str, list[float]]:
    return {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
