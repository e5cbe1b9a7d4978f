"""Numbers as text: what Python's own formatting gives, digit for digit."""

import numpy as np
import pytest

from eval_now.io.decimal_text import decimal_lines


@pytest.mark.parametrize("decimals", [1, 4, 7])
@pytest.mark.parametrize("scale", [1e-6, 0.5, 1.0, 42.0, 99.99, 3e4, 2e9])
def test_lines_are_those_of_python(decimals, scale):
    values = scale * np.random.default_rng(0).standard_normal((500, 3))
    values[0] = [0.0, scale, -scale]
    lines = decimal_lines("v", values, decimals).decode().splitlines()
    assert len(lines) == 500
    for line, row in zip(lines, values, strict=True):
        prefix, *words = line.split(" ")
        assert prefix == "v"
        for word, value in zip(words, row, strict=True):
            expected = f"{value:.{decimals}f}"
            if float(expected) == 0:
                expected = expected.lstrip("-")
            assert word == expected


def test_no_row_gives_no_line():
    assert decimal_lines("vt", np.zeros((0, 2)), 5) == b""
