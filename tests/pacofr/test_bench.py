"""Figures of speed come from functions that are right on a tiny network and a few photos."""

import pytest
import torch
from bench.faces import measure as measure_faces
from bench.pretrain import Passes, measure, peak_bytes
from helpers.pacofr_tiny import tiny_config
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mica_ext.commands.photo_run.output_plan import EXAMPLE
from pacofr.pretraining.method.flops import gmac

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def passes():
    return Passes(tiny_config(batch_size=4), CPU, layers=(1, 2))


def sizes(passes):
    return passes.model.config.encoder, passes.model.config.decoder


def test_multiply_adds_are_those_that_torch_counts(passes):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tokens = passes.encoder(passes.images[:1])
        encoder = counter.get_total_flops()
        passes.decoder(tokens)
    decoder = counter.get_total_flops() - encoder
    expected = [1e9 * 2 * each for each in gmac(*sizes(passes))]
    assert [encoder, decoder] == pytest.approx(expected, rel=1e-6)


def test_bare_passes_are_those_of_the_step(passes):
    """Of equal flop, but for the belief predictor's, which is small."""
    counts = []
    for call in (passes.step, passes.bare):
        with FlopCounterMode(display=False) as counter:
            call(incubating=False)
        counts.append(counter.get_total_flops())
    assert counts[0] == pytest.approx(counts[1], rel=0.05)


def test_incubation_adds_a_reconstruction_per_candidate(passes):
    encoder, decoder = (2e9 * 4 * each for each in gmac(*sizes(passes)))
    plain, incubating = (passes.flop(incubating=each) for each in (False, True))
    assert plain == pytest.approx(6 * encoder + 3 * decoder)
    assert incubating - plain == pytest.approx(3 * (encoder + decoder))


def test_figures_of_a_step(passes):
    figures = measure(passes, CPU, 3, incubating=False)
    low, middle, high = figures.ratios
    assert 0 < low <= middle <= high
    assert min(figures.seconds, figures.bytes, figures.bytes_ratio) > 0


def test_memory_kept_for_backward():
    weight = torch.ones(1000, requires_grad=True)
    other = torch.ones(1000)
    assert peak_bytes(lambda: (weight * other).sum().backward(), CPU) == 4000


def test_costs_of_faces_are_per_photo(tmp_path):
    photo = Image.open(EXAMPLE).resize((320, 320))
    photo.save(tmp_path / "a.jpg")
    photo.save(tmp_path / "b.jpg", quality=60)
    Image.new("RGB", (320, 320), "grey").save(tmp_path / "c.jpg")
    costs = measure_faces([tmp_path], 3, repeat=1)
    assert (costs.photos, costs.kept) == (3, 2)
    parts = (costs.decode, costs.detect_single, costs.detect_batched, costs.crop, costs.curate)
    assert min(parts) > 0
    # 2 faces of 3 photos at 100 ms each
    assert costs._replace(curate=100.0).kept_per_second == pytest.approx(20 / 3)
    assert [loading.side for loading in costs.loading] == [224, 112]
