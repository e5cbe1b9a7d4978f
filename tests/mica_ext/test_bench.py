"""The figures of reconstruct's speed come from functions that are right on known times."""

import numpy as np
import pytest
import torch
from bench.reconstruct import forward_passes, resized, warm_calls

from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.reconstruct import Reconstructor
from pacofr.images import load_image


class Time:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Inner(torch.nn.Module):
    def __init__(self, time):
        super().__init__()
        self.time = time

    def forward(self, seconds):
        self.time.now += seconds
        return seconds


class Outer(Inner):
    def __init__(self, time):
        super().__init__(time)
        self.inner = Inner(time)

    def forward(self, seconds):
        self.time.now += 1.0
        return self.inner(seconds)


def test_a_pass_counts_once_however_deep_the_network():
    time = Time()
    outer, inner = Outer(time), Inner(time)
    with forward_passes(time) as passes:
        outer(2.0)
        time.now += 50.0
        inner(0.5)
    inner(9.0)
    assert passes == [("Outer", 3.0), ("Inner", 0.5)]


def test_calls_are_compared_with_their_networks():
    time = Time()
    network = Inner(time)

    def call():
        time.now += 0.3
        network(0.1)
        network(0.1)

    calls = warm_calls(call, 3, time)
    np.testing.assert_allclose(calls.whole, [500] * 3)
    np.testing.assert_allclose(calls.inside, [200] * 3)
    assert calls.ratio == pytest.approx(2.5)


def test_detector_and_landmark_network_are_among_the_networks():
    reconstructor, image = Reconstructor.load("auto"), resized(load_image(EXAMPLE), 256)
    with forward_passes(Time()) as passes:
        reconstructor(image)
    names = {each.network for each in passes}
    assert {"PNet", "RNet", "ONet"} < names
    assert "HeadDecoder" not in names
