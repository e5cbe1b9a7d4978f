"""What a training run leaves in its folder, and whether two runs ended alike."""

import json
from pathlib import Path
from typing import Any


def metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without their speed."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["images_per_second"]
        row.pop("seconds", None)
        row.pop("mfu", None)
    return rows


def assert_same_end(out: Path, other: Path) -> None:
    """Every loss and norm and every weight, to the last bit."""
    assert metrics(out) == metrics(other)
    file = "model/model.safetensors"
    assert (out / file).read_bytes() == (other / file).read_bytes()
