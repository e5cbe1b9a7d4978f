"""Fixtures of the tests of flame_assets."""

import jaxtyping
import pytest


@pytest.fixture
def unhooked():
    """Without the tests' own type checks: the errors that users see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
