"""What `load_encoder` does with files it cannot use, and how it prepares images."""

import argparse
import dataclasses

import parity_weights as pw
import pytest
import torch

from pacofr.errors import UserError
from pacofr.models import encoders
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining import config, perceptual

TINY = VitConfig(image_size=32, patch_size=8, width=32, depth=3, heads=2)


def cheap(specs):
    """Tensors of the right names and shapes that hold one number."""
    return {key: torch.zeros(()).expand(spec.shape) for key, spec in specs.items()}


def refused(name, file, *says):
    with pytest.raises(UserError) as caught:
        encoders.load_encoder(name, file)
    message = str(caught.value)
    assert "\n" not in message
    for words in (str(file), *says):
        assert words in message
    return message


def test_a_missing_file_is_named_with_what_is_needed(tmp_path):
    refused("mae", tmp_path / "none.pth", "no such file", "mae_pretrain_vit_base.pth")


def test_no_weights_at_all():
    with pytest.raises(UserError, match=r"vit-b-300ep\.pth\.tar"):
        encoders.load_encoder("moco-v3")
    with pytest.raises(UserError, match="unknown encoder"):
        encoders.load_encoder("dino")


@pytest.mark.parametrize("content", [b"", b"no torch file at all", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_checkpoint(content, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    refused("farl", file, "FaRL-Base-Patch16")


def test_a_checkpoint_of_something_else(tmp_path):
    file = tmp_path / "other.pth"
    torch.save({"weights": torch.zeros(2)}, file)
    refused("mae", file, "'model'", "weights")


def test_objects_in_a_file_are_not_built(tmp_path):
    file = tmp_path / "evil.pth"
    torch.save({"model": {"x": pytest.raises}}, file)
    refused("mae", file, "cannot read")


@pytest.mark.parametrize(
    ("asked", "entry", "specs", "looks_like"),
    [
        ("moco-v3", "state_dict", pw.farl_specs(), "farl"),
        ("mae", "model", pw.mae_encoder_specs("online_encoder."), "mcf"),
        ("farl", "state_dict", pw.mae_encoder_specs("module.base_encoder."), "moco-v3"),
        ("mcf", "model", {"cls_token": pw.TensorSpec((1, 1, 768))}, "mae"),
    ],
)
def test_another_encoders_file_is_recognised(asked, entry, specs, looks_like, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({entry: cheap(specs)}, file)
    refused(asked, file, f"looks like {looks_like}", "it lacks")


def test_missing_tensors_are_listed(tmp_path):
    specs = pw.mae_encoder_specs()
    del specs["norm.bias"], specs["blocks.7.attn.qkv.weight"]
    file = tmp_path / "weights.pth"
    torch.save({"model": cheap(specs)}, file)
    message = refused("mae", file, "norm.bias", "blocks.7.attn.qkv.weight")
    assert "blocks.6" not in message


def test_another_model_size_is_refused(tmp_path):
    specs = pw.mae_encoder_specs()
    specs["norm.bias"] = pw.TensorSpec((1024,))
    file = tmp_path / "weights.pth"
    torch.save({"model": cheap(specs)}, file)
    refused("mae", file, "norm.bias", "(768,)", "(1024,)")


def test_training_flags_in_a_file_do_no_harm(tmp_path):
    file = tmp_path / "weights.pth"
    tensors = cheap(pw.mae_encoder_specs()) | {"decoder_embed.weight": torch.zeros(1)}
    torch.save({"model": tensors, "args": argparse.Namespace(lr=1.0), "epoch": 3}, file)
    assert encoders.load_encoder("mae", file).layers == (2, 4, 8, 12)


def test_each_encoder_normalises_as_it_was_trained():
    image = torch.full((1, 3, 32, 32), 0.5)
    plain = encoders.FaceEncoder(VisionTransformer(TINY), (1,))
    assert plain.prepare(image)[0, :, 0, 0].tolist() == pytest.approx(
        [(0.5 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    )


def test_maps_are_the_tokens_in_their_places():
    torch.manual_seed(0)
    encoder = encoders.FaceEncoder(VisionTransformer(TINY), (1, 3))
    images = torch.rand(2, 3, 32, 32)
    for tokens, grid in zip(encoder(images), encoder.maps(images), strict=True):
        assert grid.shape == (2, 32, 4, 4)
        assert torch.equal(grid[1, :, 2, 3], tokens[1, 1 + 2 * 4 + 3])


def test_another_resolution_keeps_the_weights_and_resizes_the_table():
    torch.manual_seed(0)
    vit = VisionTransformer(TINY)
    large = encoders.at_resolution(vit, 64)
    assert large.pos_embed.shape == (1, 65, 32)
    assert torch.equal(large.pos_embed[:, 0], vit.pos_embed[:, 0])
    for name, tensor in vit.state_dict().items():
        if name != "pos_embed":
            assert torch.equal(large.state_dict()[name], tensor)
    with pytest.raises(UserError, match="multiple"):
        encoders.at_resolution(vit, 60)


def test_perceptual_net_is_frozen_but_lets_gradients_through():
    torch.manual_seed(0)
    net = perceptual.PerceptualNet(VisionTransformer(TINY), (3, 6, 9, 12))
    assert net.layers == (1, 2, 2, 3)
    image = torch.rand(1, 3, 48, 48, requires_grad=True)  # another size is scaled
    sum(f.sum() for f in net(image)).backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in net.parameters())


def test_perceptual_nets_by_name(tmp_path):
    ask = config.LossConfig
    assert perceptual.load_perceptual(ask(perceptual_net="none")) is None
    with pytest.raises(UserError, match="perceptual-weights"):
        perceptual.load_perceptual(ask(perceptual_net="moco-v3"))
    with pytest.raises(UserError, match=r"config\.json"):
        perceptual.load_perceptual(ask(perceptual_net=f"self:{tmp_path}"))
    with pytest.raises(UserError, match="unknown perceptual net"):
        perceptual.load_perceptual(ask(perceptual_net="vgg"))


def test_scratch_is_a_vit_base():
    encoder = encoders.load_encoder("scratch")
    assert encoder.config == dataclasses.replace(VitConfig())
