"""Where gradients go, what the encoder sees, and that what is published is what was trained."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from pacofr.engine.checkpoint import write_model
from pacofr.models import encoders
from pacofr.models.config import VitConfig
from pacofr.models.normalization import normalise
from pacofr.pretraining import config, presets
from pacofr.pretraining.method import codebook, masking
from pacofr.pretraining.method.model import PaCoFR, load_pretrained, pretraining_loss

MODEL = config.PaCoFRConfig(
    encoder=VitConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2),
    decoder=config.DecoderConfig(width=32, heads=2),
    predictor=config.PredictorConfig(hidden=16),
)
RUN = config.PretrainConfig(model=MODEL, loss=config.LossConfig(perceptual_net="none"))


def tensors(run=RUN, batch=4, epoch=0, incubation=True):
    torch.manual_seed(5)
    draws = masking.sample_masks(
        0, epoch, np.arange(batch), run.model, run.masking, incubation=incubation
    )
    return torch.rand(batch, 3, 32, 32), *(torch.from_numpy(part) for part in draws)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return PaCoFR(MODEL)


def used_tokens(chosen, mask):
    """[K, n]: does some image of the batch put candidate j at masked position i?"""
    used = torch.zeros(MODEL.encoder.patches, MODEL.codebook.candidates, dtype=torch.bool)
    for b, i in mask.nonzero().tolist():
        used[i, chosen[b, i]] = True
    return used


@pytest.mark.parametrize("predictor_training", [True, False])
def test_image_losses_move_only_chosen_tokens_and_never_the_predictor(model, predictor_training):
    inputs = tensors(batch=2)
    output = model(*inputs, predictor_training=predictor_training)
    output.mse.mean().backward()
    moved = (model.codebook.tokens.grad != 0).any(dim=-1)
    assert torch.equal(moved, used_tokens(output.chosen, inputs[1]))
    assert not moved.all()
    assert all(p.grad is None for p in model.predictor.parameters())
    for part in (model.encoder.blocks, model.decoder):
        assert all(p.grad.abs().sum() > 0 for p in part.parameters())


def test_cross_entropy_moves_the_predictor_alone(model):
    output = model(*tensors(), predictor_training=True)
    output.cross_entropy.mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.predictor.parameters())
    others = [p for n, p in model.named_parameters() if not n.startswith("predictor.")]
    assert all(p.grad is None for p in others)


def test_gradients_in_bf16_are_those_in_float32(model):
    """Autocast caches weights: what eq. 4's passes cast without gradients must not serve again."""
    found = []
    for mixed in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            output = model(*tensors(), predictor_training=True)
            pretraining_loss(output, None, RUN.loss).total.backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad})
    for name, exact in found[0].items():
        if name.startswith("predictor."):  # learns labels, and rounding decides the close ones
            continue
        pair = exact.flatten(), found[1][name].flatten()
        assert torch.nn.functional.cosine_similarity(*pair, dim=0) > 0.99, name


def test_after_incubation_the_predictor_chooses_and_stays_as_it_is(model):
    before = {name: p.clone() for name, p in model.predictor.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    incubation = pretraining_loss(model(*tensors(), predictor_training=True), None, RUN.loss)
    incubation.total.backward()
    optimizer.step()
    incubated = {name: p.clone() for name, p in model.predictor.named_parameters()}
    assert all(not torch.equal(before[name], p) for name, p in incubated.items())
    model.freeze_predictor()
    for _ in range(2):
        optimizer.zero_grad()
        images, mask, *others = tensors(incubation=False)
        output = model(images, mask, *others, predictor_training=False)
        pretraining_loss(output, None, RUN.loss).total.backward()
        optimizer.step()
    assert all(torch.equal(incubated[n], p) for n, p in model.predictor.named_parameters())
    assert output.cross_entropy is None
    patches = codebook.patchify(normalise(images), 8)
    predicted = model.predictor(patches, mask).argmax(-1)
    assert torch.equal(output.chosen[mask], predicted[mask])


def test_incubation_replaces_dropped_choices_by_random_candidates(model):
    images, mask, random_token, use_random, judged = tensors()
    output = model(images, mask, random_token, use_random, judged, predictor_training=True)
    assert torch.equal(output.chosen[use_random], random_token[use_random])
    kept = mask & ~use_random
    assert torch.equal(output.chosen[kept], output.logits.argmax(-1)[kept])


def test_the_reconstruction_depends_on_visible_pixels_only():
    """With random candidates nothing but the visible patches may reach the encoder."""
    run = presets.ABLATIONS["3x196-random"].apply(RUN)
    torch.manual_seed(3)
    model = PaCoFR(run.model)
    images, mask, *others = tensors(run)
    prediction = model(images, mask, *others).prediction
    for position in range(MODEL.encoder.patches):
        y, x = (8 * place for place in divmod(position, MODEL.encoder.grid))
        altered = images.clone()
        altered[:, :, y : y + 8, x : x + 8] = torch.rand(4, 3, 8, 8)
        changed = (model(altered, mask, *others).prediction != prediction).flatten(1)
        assert changed.any(dim=1).tolist() == (~mask[:, position]).tolist()


def test_random_selection_has_no_predictor_and_uses_the_draw():
    run = presets.ABLATIONS["3x196-random"].apply(RUN)
    model = PaCoFR(run.model)
    images, mask, random_token, *others = tensors(run)
    assert model.predictor is None
    assert torch.equal(model(images, mask, random_token, *others).chosen, random_token)


def test_one_shared_token_is_the_same_pixels_everywhere():
    run = presets.ABLATIONS["1-token"].apply(RUN)
    model = PaCoFR(run.model)
    assert model.codebook.tokens.shape == (1, 1, 192)
    images, mask, random_token, *_ = tensors(run)
    patches = codebook.patchify(images, 8)
    masked = codebook.restructure(patches, model.codebook(), random_token, mask)[mask]
    assert torch.equal(masked, masked[:1].expand_as(masked))


def test_a_few_steps_learn_to_reconstruct(model):
    inputs = tensors(batch=8)
    smooth = torch.nn.functional.interpolate(inputs[0][..., :2, :2], size=(32, 32), mode="bicubic")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        terms = pretraining_loss(
            model(smooth, *inputs[1:], predictor_training=True), None, RUN.loss
        )
        terms.total.backward()
        optimizer.step()
        losses.append(terms.mse.item())
    assert losses[-1] < 0.25 * losses[0]


@pytest.mark.parametrize("shared", [False, True])
def test_codebook_starts_from_the_mean_patch_or_from_patches(shared):
    encoder = MODEL.encoder
    images = torch.randn(6, 3, 32, 32)
    patches = codebook.patchify(images, 8)
    for init in ("mean_patch", "patches"):
        settings = config.CodebookConfig(init=init, shared=shared, init_std=1e-6)
        book = codebook.Codebook(settings, encoder)
        book.initialize_from(images, 8, torch.Generator().manual_seed(0))
        tokens = book.tokens.detach()
        if init == "mean_patch":
            mean = patches.mean(dim=(0, 1)) if shared else patches.mean(dim=0)[:, None]
            assert torch.allclose(tokens, mean.expand_as(tokens), atol=1e-4)
        else:
            apart = tokens.flatten(0, 1)[:, None] - patches.flatten(0, 1)
            near = apart.abs().amax(dim=-1).amin(dim=1)
            assert float(near.max()) < 1e-3
        assert len(torch.unique(tokens[0], dim=0)) == settings.candidates


def test_published_model_gives_the_same_features_back(model, tmp_path):
    write_model(tmp_path / "model", model, config.model_to_json(MODEL))
    inputs = tensors()
    again = load_pretrained(tmp_path)
    assert torch.equal(again(*inputs).prediction, model(*inputs).prediction)
    encoder = encoders.load_encoder("pacofr", tmp_path)
    taps = encoder(inputs[0])
    assert encoder.layers == (1, 1, 1, 2)
    assert torch.allclose(taps[-1], model.encoder.taps(normalise(inputs[0]), (2,))[0])


COMPILED = """
import numpy as np, torch
from pacofr.pretraining import presets
from pacofr.pretraining.method import masking
from pacofr.pretraining.method.model import PaCoFR, pretraining_loss
torch.manual_seed(0)
torch.set_num_threads(1)
run = presets.preset("micro")
model = PaCoFR(run.model)
draws = masking.sample_masks(0, 0, np.arange(2), run.model, run.masking)
inputs = torch.rand(2, 3, 112, 112), *(torch.from_numpy(part) for part in draws)
compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
for predictor_training in (True, False):
    plain, fast = (net(*inputs, predictor_training=predictor_training) for net in (model, compiled))
    assert torch.allclose(plain.prediction, fast.prediction, atol=1e-4)
    pretraining_loss(fast, None, run.loss).total.backward()
"""


@pytest.mark.slow
def test_the_model_compiles_as_one_graph():
    environment = {**os.environ, "JAXTYPING_DISABLE": "1"}
    subprocess.run([sys.executable, "-c", COMPILED], check=True, env=environment, timeout=500)
