"""Where gradients go, what chance decides, and that what is published is what was trained."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from pacofr.engine.checkpoint import write_model
from pacofr.errors import UserError
from pacofr.models import encoders, vit
from pacofr.pretraining import codebook, config, config_json, masking
from pacofr.pretraining.model import PaCoFR, load_pretrained, pretraining_loss

MODEL = config.PaCoFRConfig(
    encoder=config.VitConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2),
    decoder=config.DecoderConfig(width=32, heads=2),
    predictor=config.PredictorConfig(hidden=16),
)
RUN = config.PretrainConfig(model=MODEL, loss=config.LossConfig(perceptual_net="none"))


def tensors(run=RUN, batch=4, epoch=0):
    torch.manual_seed(5)
    draws = masking.draw(0, epoch, np.arange(batch), run.model, run.masking)
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


@pytest.mark.parametrize("incubating", [True, False])
def test_image_losses_move_only_chosen_tokens_and_never_the_predictor(model, incubating):
    inputs = tensors(batch=2)
    output = model(*inputs, incubating=incubating)
    output.mse.mean().backward()
    moved = (model.codebook.tokens.grad != 0).any(dim=-1)
    assert torch.equal(moved, used_tokens(output.chosen, inputs[1]))
    assert not moved.all()
    assert all(p.grad is None for p in model.predictor.parameters())
    for part in (model.encoder.blocks, model.decoder):
        assert all(p.grad.abs().sum() > 0 for p in part.parameters())


def test_cross_entropy_moves_the_predictor_alone(model):
    output = model(*tensors(), incubating=True)
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
            output = model(*tensors(), incubating=True)
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
    incubation = pretraining_loss(model(*tensors(), incubating=True), None, RUN.loss)
    incubation.total.backward()
    optimizer.step()
    incubated = {name: p.clone() for name, p in model.predictor.named_parameters()}
    assert all(not torch.equal(before[name], p) for name, p in incubated.items())
    model.freeze_predictor()
    for _ in range(2):
        optimizer.zero_grad()
        images, mask, candidate, drop = tensors()
        output = model(images, mask, candidate, drop, incubating=False)
        pretraining_loss(output, None, RUN.loss).total.backward()
        optimizer.step()
    assert all(torch.equal(incubated[n], p) for n, p in model.predictor.named_parameters())
    assert output.cross_entropy is None
    patches = codebook.patchify(codebook.normalise(images), 8)
    assert torch.equal(output.chosen, model.predictor(patches).argmax(-1))


def test_incubation_replaces_dropped_choices_by_random_candidates(model):
    images, mask, candidate, drop = tensors()
    output = model(images, mask, candidate, drop, incubating=True)
    assert torch.equal(output.chosen[drop], candidate[drop])
    assert torch.equal(output.chosen[~drop], output.logits.argmax(-1)[~drop])


def test_masked_patches_are_not_seen(model):
    images, mask, candidate, drop = tensors()
    model.freeze_predictor()
    patches = codebook.patchify(images, 8)
    chosen = model(images, mask, candidate, drop).chosen
    altered = torch.where(mask[..., None], torch.rand_like(patches), patches)
    restructured = [
        codebook.restructure(p, model.codebook(), chosen, mask) for p in (patches, altered)
    ]
    assert torch.equal(*restructured)


def test_random_selection_has_no_predictor_and_uses_the_draw():
    run = config.ABLATIONS["3x196-random"].apply(RUN)
    model = PaCoFR(run.model)
    images, mask, candidate, drop = tensors(run)
    assert model.predictor is None
    assert torch.equal(model(images, mask, candidate, drop).chosen, candidate)


def test_one_shared_token_is_the_same_pixels_everywhere():
    run = config.ABLATIONS["1-token"].apply(RUN)
    model = PaCoFR(run.model)
    assert model.codebook.tokens.shape == (1, 1, 192)
    images, mask, candidate, _ = tensors(run)
    patches = codebook.patchify(images, 8)
    masked = codebook.restructure(patches, model.codebook(), candidate, mask)[mask]
    assert torch.equal(masked, masked[:1].expand_as(masked))


def test_table_7_rows_change_what_they_say():
    for name, row in config.ABLATIONS.items():
        run = row.apply(config.paper())
        positions = 1 if run.model.codebook.shared else run.model.encoder.patches
        tokens = PaCoFR(row.apply(RUN).model).codebook.tokens
        assert tokens.shape[1] == row.candidates
        assert positions == (1 if name == "1-token" else 196)
        steps = [run.predictor_trains(step, 10) for step in (0, 9, 10, 300)]
        expected = {
            "3x196-predictor": [True, True, False, False],
            "5x196-predictor": [True, True, False, False],
            "3x196-no-incubation": [True] * 4,
        }
        assert steps == expected.get(name, [False] * 4)
    assert config.ABLATIONS["3x196-predictor"].apply(config.paper()) == config.paper()


def test_draws_depend_on_seed_epoch_and_sample_only():
    alone = masking.draw(7, 3, np.array([42]), config.PaCoFRConfig(), config.MaskingConfig())
    order = np.array([5, 42, 11])
    batch = masking.draw(7, 3, order, config.PaCoFRConfig(), config.MaskingConfig())
    for one, many in zip(alone, batch, strict=True):
        assert np.array_equal(one[0], many[1])
    for seed, epoch, index in ((8, 3, 42), (7, 4, 42), (7, 3, 43)):
        other = masking.draw(
            seed, epoch, np.array([index]), config.PaCoFRConfig(), config.MaskingConfig()
        )
        assert not np.array_equal(other.mask, alone.mask)


def test_uniform_masks_are_exact_in_count_and_even_over_positions_and_pairs():
    images = 4000
    draws = masking.draw(0, 0, np.arange(images), config.PaCoFRConfig(), config.MaskingConfig())
    assert (draws.mask.sum(axis=1) == 147).all()
    assert (draws.drop.sum(axis=1) == 110).all()
    assert not (draws.drop & ~draws.mask).any()
    error = np.sqrt(0.75 * 0.25 / images)
    assert abs(draws.mask.mean(axis=0) - 0.75).max() < 4.5 * error
    both = draws.mask.T.astype(float) @ draws.mask / images
    expected = 0.75 * 146 / 195  # drawn without replacement
    assert abs(both[~np.eye(196, dtype=bool)] - expected).max() < 5.5 * error
    share = np.bincount(draws.candidate.ravel(), minlength=3) / draws.candidate.size
    assert abs(share - 1 / 3).max() < 4 * np.sqrt(2 / 9 / draws.candidate.size)
    dropped_given_mask = draws.drop.sum(axis=0) / draws.mask.sum(axis=0)
    assert abs(dropped_given_mask - 110 / 147).max() < 5 * error


def test_region_masks_cover_whole_regions_but_one():
    draws = masking.draw(
        0, 0, np.arange(50), config.PaCoFRConfig(), config.MaskingConfig(kind="regions")
    )
    regions = masking.face_regions(14)
    assert (draws.mask.sum(axis=1) == 147).all()
    for row in draws.mask:
        shares = [row[regions == r].mean() for r in range(regions.max() + 1)]
        assert sum(0 < share < 1 for share in shares) <= 1


def test_a_few_steps_learn_to_reconstruct(model):
    inputs = tensors(batch=8)
    smooth = torch.nn.functional.interpolate(inputs[0][..., :2, :2], size=(32, 32), mode="bicubic")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        terms = pretraining_loss(model(smooth, *inputs[1:], incubating=True), None, RUN.loss)
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
        book.start_from(images, 8, torch.Generator().manual_seed(0))
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
    assert torch.allclose(taps[-1], model.encoder.taps(codebook.normalise(inputs[0]), (2,))[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["model"].update(surprise=1), "does not know"),
        (lambda c: c["model"]["encoder"].pop("width"), "lacks"),
        (lambda c: c["model"]["encoder"].update(width=33), "multiple"),
        (lambda c: c["model"]["encoder"].update(width="wide"), "config.json"),
        (lambda c: c["model"]["encoder"].update(patch_size=0), "at least 1"),
        (lambda c: c.pop("model"), "expected the fields of PaCoFRConfig"),
        (lambda c: c.update(version=99), "version"),
        (lambda c: c.update(format="else"), "pacofr pretrain"),
    ],
)
def test_a_foreign_model_config_is_refused(change, says, tmp_path):
    content = json.loads(json.dumps(config.model_to_json(MODEL)))
    assert config_json.from_json(config.PaCoFRConfig, content["model"], "here") == MODEL
    change(content)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=says):
        config_json.model_from_json(tmp_path)


def test_configs_survive_json_and_refuse_nonsense():
    for name in config.PRESETS:
        run = dataclasses.replace(config.preset(name, "5x196-random"), seed=3)
        content = json.loads(json.dumps(dataclasses.asdict(run), default=str))
        assert config_json.from_json(config.PretrainConfig, content, "here") == run
    with pytest.raises(UserError, match="unknown preset"):
        config.preset("huge")
    with pytest.raises(UserError, match="Table 7"):
        config.preset("micro", "7x196")
    with pytest.raises(UserError, match="multiple"):
        config.VitConfig(image_size=100)


def test_configs_and_draws_need_no_torch():
    code = (
        "import pacofr.pretraining.config, pacofr.pretraining.config_json, sys; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_layers_scale_to_shallower_encoders():
    assert vit.scaled_layers((2, 4, 8, 12), 12) == (2, 4, 8, 12)
    assert vit.scaled_layers((2, 4, 8, 12), 6) == (1, 2, 4, 6)


COMPILED = """
import numpy as np, torch
from pacofr import config, masking
from pacofr.model import PaCoFR, pretraining_loss
torch.manual_seed(0)
torch.set_num_threads(1)
run = config.preset("micro")
model = PaCoFR(run.model)
draws = masking.draw(0, 0, np.arange(2), run.model, run.masking)
inputs = torch.rand(2, 3, 112, 112), *(torch.from_numpy(part) for part in draws)
compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
for incubating in (True, False):
    plain, fast = (net(*inputs, incubating=incubating) for net in (model, compiled))
    assert torch.allclose(plain.prediction, fast.prediction, atol=1e-4)
    pretraining_loss(fast, None, run.loss).total.backward()
"""


@pytest.mark.slow
def test_the_model_compiles_as_one_graph():
    environment = {**os.environ, "JAXTYPING_DISABLE": "1"}
    subprocess.run([sys.executable, "-c", COMPILED], check=True, env=environment, timeout=500)


# ---- attention ---------------------------------------------------------------------------------


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
