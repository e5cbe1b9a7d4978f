"""Attention and layer numbering of the vision transformer."""

import pytest
import torch

from pacofr.models import vit


def test_layers_scale_to_shallower_encoders():
    assert vit.scaled_layers((2, 4, 8, 12), 12) == (2, 4, 8, 12)
    assert vit.scaled_layers((2, 4, 8, 12), 6) == (1, 2, 4, 6)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_attention_and_its_gradients_are_the_softmax_written_out(kind):
    generator = torch.Generator().manual_seed(0)
    exact = [
        torch.randn(2, 3, 17, 8, generator=generator).to(kind).double().requires_grad_()
        for _ in range(3)
    ]
    rounded = [tensor.detach().to(kind).requires_grad_() for tensor in exact]
    out = vit.attend(*rounded)
    assert out.dtype == kind
    query, key, value = exact
    scores = torch.einsum("bhid,bhjd->bhij", query, key) / 8**0.5
    expected = torch.einsum("bhij,bhjd->bhid", scores.exp() / scores.exp().sum(-1, True), value)
    weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    (out.double() * weights).sum().backward()
    (expected * weights).sum().backward()
    close = {"rtol": 0, "atol": 1e-12} if kind == torch.float64 else {"rtol": 0.02, "atol": 0.05}
    torch.testing.assert_close(out.double(), expected, **close)
    for ours, theirs in zip(rounded, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, **close)
