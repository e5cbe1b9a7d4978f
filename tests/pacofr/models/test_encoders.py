"""What `load_encoder` does with files it cannot use, and how it prepares images."""

import argparse
import dataclasses
import json
import os
import pathlib
import pickle
import re
import tracemalloc
import zipfile

import numpy as np
import parity_weights as pw
import pytest
import torch

from pacofr.engine.checkpoint import write_model
from pacofr.errors import UserError
from pacofr.models import encoders
from pacofr.models.config import VitConfig
from pacofr.models.vit import VisionTransformer
from pacofr.pretraining import config
from pacofr.pretraining.method import perceptual_net
from pacofr.pretraining.method.model import PaCoFR, load_pretrained

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


class Touching:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_objects_in_a_file_are_not_built(tmp_path):
    file, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"model": {"cls_token": Touching(trace)}}, file)
    refused("mae", file, "it may be hostile")
    assert not trace.exists()


def test_wrappers_and_extras_in_a_file_do_no_harm(tmp_path):
    """torch.compile and DistributedDataParallel rename tensors; NumPy scalars are kept beside."""
    file = tmp_path / "weights.pth"
    tensors = pw.mae_encoder_specs()
    names = {f"module._orig_mod.{key}": value for key, value in cheap(tensors).items()}
    extras = {"best": np.float64(1.0), "file": pathlib.PurePosixPath("a/b"), 7: "seven"}
    torch.save({"model": names, **extras}, file)
    assert encoders.load_encoder("mae", file).layers == (2, 4, 8, 12)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("visual.positional_embedding", r"pos_embed of shape \(1, 197, 768\), got \(785, 768\)"),
        ("visual.class_embedding", r"cls_token of shape \(1, 1, 768\), got \(785, 768\)"),
    ],
)
def test_another_clip_model_is_one_line(entry, what, tmp_path):
    file = tmp_path / "weights.pth"
    tensors = cheap(pw.farl_specs()) | {entry: torch.zeros(()).expand(785, 768)}
    torch.save({"state_dict": tensors}, file)
    message = refused("farl", file)
    assert re.search(f"farl needs {what}: another model size", message)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    file = tmp_path / "weights.pth"
    tensors = cheap(pw.mae_encoder_specs())
    tensors["blocks.3.norm1.bias"] = torch.full((768,), value)
    torch.save({"model": tensors}, file)
    refused("mae", file, "blocks.3.norm1.bias holds numbers that are not finite")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>sign in</html>", "web page"),
        (pickle.dumps({"model": {}}), "plain pickle"),
        (b"cls_token 0.1 0.2", "text file"),
    ],
)
def test_what_comes_instead_of_a_checkpoint_is_named(content, what, tmp_path):
    file = tmp_path / "mae.pth"
    file.write_bytes(content)
    message = refused("mae", file, what, "expected mae_pretrain_vit_base.pth")
    assert "\x1b" not in message


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "mae.pth")
    refused("mae", tmp_path / "mae.pth", "pipe")


def test_tensors_that_are_not_the_encoders_are_never_unpacked(tmp_path):
    """A few kB that unpack to 128 MiB: shapes are compared before any tensor is read."""
    file = tmp_path / "bomb.pth"
    torch.save({"model": {"cls_token": torch.zeros(1)}}, file)
    with zipfile.ZipFile(file) as honest:
        members = {info.filename: honest.read(info) for info in honest.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
        for name, data in members.items():
            with bomb.open(name, "w", force_zip64=True) as member:
                for _ in range(128 if name.endswith("data/0") else 0):
                    member.write(bytes(1 << 20))
                member.write(data)
    tracemalloc.start()
    refused("mae", file, "mae needs cls_token of shape (1, 1, 768), got (1,)")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"depth": 10**9}, "depth must be at most 256, not 1000000000"),
        ({"depth": 200}, "it lacks blocks.3"),
        ({"width": 16384, "heads": 4}, r"of shape (1, 1, 16384), got (1, 1, 32)"),
        ({"image_size": 4096, "patch_size": 1}, "expected 65536 patches at most"),
    ],
)
def test_a_config_never_decides_what_is_allocated(change, says, tmp_path):
    """The file of weights does: a model of a billion blocks is one line, at once."""
    torch.manual_seed(0)
    model = config.PaCoFRConfig(
        encoder=TINY,
        decoder=config.DecoderConfig(width=32, heads=2),
        predictor=config.PredictorConfig(hidden=16),
    )
    write_model(tmp_path, PaCoFR(model), config.model_to_json(model))
    assert encoders.load_encoder("pacofr", tmp_path).config == TINY
    content = json.loads((tmp_path / "config.json").read_text())
    content["model"]["encoder"].update(change)
    (tmp_path / "config.json").write_text(json.dumps(content))
    refused("pacofr", tmp_path, says)
    with pytest.raises(UserError, match="missing|of shape|at most"):
        load_pretrained(tmp_path)


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
    net = perceptual_net.PerceptualNet(VisionTransformer(TINY), (3, 6, 9, 12))
    assert net.layers == (1, 2, 2, 3)
    image = torch.rand(1, 3, 48, 48, requires_grad=True)  # another size is scaled
    sum(f.sum() for f in net(image)).backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in net.parameters())


def test_perceptual_nets_by_name(tmp_path):
    ask = config.LossConfig
    assert perceptual_net.load_perceptual(ask(perceptual_net="none")) is None
    with pytest.raises(UserError, match="perceptual-weights"):
        perceptual_net.load_perceptual(ask(perceptual_net="moco-v3"))
    with pytest.raises(UserError, match=r"config\.json"):
        perceptual_net.load_perceptual(ask(perceptual_net=f"self:{tmp_path}"))
    with pytest.raises(UserError, match="unknown perceptual net"):
        perceptual_net.load_perceptual(ask(perceptual_net="vgg"))


def test_scratch_is_a_vit_base():
    encoder = encoders.load_encoder("scratch")
    assert encoder.config == dataclasses.replace(VitConfig())
