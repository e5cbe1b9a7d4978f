"""Our encoders against the official code's features, on rebuilt weights in the official formats."""

import numpy as np
import parity_compare as pc
import parity_weights as pw
import pytest
import torch

from pacofr.models import encoders, vit
from pacofr.pretraining import config
from pacofr.pretraining.method import codebook, losses, perceptual_net

SEED = 1
CASES = {  # name of the item -> (name of the encoder, builder, entry with the tensors, input)
    "farl": ("farl", pw.farl_checkpoint, "state_dict", "farl224"),
    "mae": ("mae", pw.mae_checkpoint, "model", "mae224"),
    "moco": ("moco-v3", pw.moco_checkpoint, "state_dict", "moco224"),
    "mcf": ("mcf", pw.mcf_checkpoint, "model", "mcf224"),
}


def write_checkpoint(item, folder):
    _, build, entry, _ = CASES[item]
    checkpoint = build(SEED)
    checkpoint[entry] = pw.realise_torch(checkpoint[entry])
    file = folder / f"{item}.pth"
    torch.save(checkpoint, file)
    return file


@pytest.fixture(scope="module")
def moco_file(tmp_path_factory):
    return write_checkpoint("moco", tmp_path_factory.mktemp("moco"))


def worst_block_error(item, file, want, blocks):
    name, _, _, stream = CASES[item]
    encoder = encoders.load_encoder(name, file, layers=blocks).eval()
    image = torch.from_numpy(pw.image01(stream, SEED, 224, 2 if item == "mae" else 1))[:1]
    with torch.no_grad():
        taps = encoder(image)
    prefix = "r224/" if item == "farl" else ""
    return max(
        pc.summary_error(want, f"{prefix}block{block}", tokens)
        for block, tokens in zip(blocks, taps, strict=True)
    )


def test_moco_blocks_equal_the_official_ones(moco_file, parity_folder):
    spec, want = pc.load(parity_folder, "moco")
    error = worst_block_error("moco", moco_file, want, (2, 3, 4, 6, 8, 9, 12))
    print(f"moco: worst error {error:.2e}")
    assert error < spec["tolerance"]["features"]


@pytest.mark.parametrize("item", ["farl", "mae", "mcf"])
def test_blocks_equal_the_official_ones(item, tmp_path, parity_folder):
    spec, want = pc.load(parity_folder, item)
    blocks = (2, 3, 4, 6, 8, 9, 12) if item == "mcf" else (2, 4, 8, 12)
    error = worst_block_error(item, write_checkpoint(item, tmp_path), want, blocks)
    print(f"{item}: worst error {error:.2e}")
    assert error < spec["tolerance"]["features"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "stream", "size"),
    [
        ("r448", "farl448", 448),
        ("r448_from_512", "farl512", 512),
    ],
)
def test_farl_at_448_equals_the_official_one(case, stream, size, tmp_path, parity_folder):
    spec, want = pc.load(parity_folder, "farl")
    file = write_checkpoint("farl", tmp_path)
    encoder = encoders.load_encoder("farl", file, resolution=448).eval()
    table = encoder.vit.pos_embed.detach().numpy()[0]
    assert pc.error(want["pos_embed_448/sample"], table.reshape(-1)[::389]) < 1e-5
    with torch.no_grad():
        taps = encoder(torch.from_numpy(pw.image01(stream, SEED, size)))
    error = max(
        pc.summary_error(want, f"{case}/block{block}", tokens)
        for block, tokens in zip((2, 4, 8, 12), taps, strict=True)
    )
    print(f"farl {case}: worst error {error:.2e}")
    assert error < spec["tolerance"]["features"]


def test_perceptual_distance_of_mcf_equals_the_official_one(moco_file, parity_folder):
    spec, want = pc.load(parity_folder, "perceptual")
    net = perceptual_net.load_perceptual(
        config.LossConfig(perceptual_net="moco-v3", perceptual_weights=moco_file)
    )
    prediction = torch.from_numpy(pw.image_normalised("perc_a", SEED, 224, 2))
    target = torch.from_numpy(pw.image_normalised("perc_b", SEED, 224, 2))
    with torch.no_grad():
        features = net(target), net(prediction)
        each = [
            float(losses.mcf_perceptual_loss([a], [b]).mean())
            for a, b in zip(*features, strict=True)
        ]
        total = float(losses.mcf_perceptual_loss(*features).mean())
    assert np.allclose(each, want["perceptual_per_layer"], rtol=spec["tolerance"]["relative"])
    assert total == pytest.approx(float(want["perceptual_sum"]), rel=spec["tolerance"]["relative"])


def test_patch_order_is_the_one_of_mae(parity_folder):
    _, want = pc.load(parity_folder, "mae")
    ramp = torch.arange(3 * 224 * 224).float().view(1, 3, 224, 224)
    patches = codebook.patchify(ramp, 16)[0].numpy()
    assert (patches[0] == want["patchify/ramp_patch0"]).all()
    assert (patches[17, :24] == want["patchify/ramp_patch17_first24"]).all()
    assert (patches[195, -24:] == want["patchify/ramp_patch195_last24"]).all()
    assert torch.equal(codebook.unpatchify(codebook.patchify(ramp, 16), 16), ramp)


@pytest.mark.parametrize("width", [512, 768])
def test_sincos_table_is_the_one_of_mae(width, parity_folder):
    _, want = pc.load(parity_folder, "mae")
    table = vit.sincos_positions(width, 14)[0].numpy()
    rows = want[f"sincos{width}/rows"]
    assert pc.error(want[f"sincos{width}/values"], table[rows]) < 1e-6


def test_table_resize_is_the_one_of_mae(parity_folder):
    _, want = pc.load(parity_folder, "mae")
    specs = {"pos_embed": pw.mae_encoder_specs()["pos_embed"]}
    table = pw.realise_torch(pw.realise(specs, SEED, "mae/"))["pos_embed"]
    resized = vit.resize_positions(table, 28).numpy().reshape(-1)
    assert pc.error(want["pos_embed_448/sample"], resized[::389]) < 1e-5
