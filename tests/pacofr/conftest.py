"""Fixtures of the tests of pacofr."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Sums are added in the same order whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
