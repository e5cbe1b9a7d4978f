"""The method's options beyond the paper's words: labels, codebook start, what the belief reads."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers.pacofr_tiny import TinyCrops, mended, tiny_config
from helpers.run_files import assert_same_end

from pacofr.engine.checkpoint import checkpoints
from pacofr.engine.optimization.adamw import make_adamw, set_learning_rate
from pacofr.engine.task import RunOptions
from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.models.normalization import normalise
from pacofr.pretraining.config import (
    VERSION_1_METHOD,
    CodebookConfig,
    LossConfig,
    PredictorConfig,
    model_to_json,
)
from pacofr.pretraining.method import masking
from pacofr.pretraining.method.belief_labels import balanced, belief_labels
from pacofr.pretraining.method.belief_predictor import visible_neighbourhood
from pacofr.pretraining.method.candidate_usage import candidate_usage, count_candidates
from pacofr.pretraining.method.codebook import Codebook, patchify
from pacofr.pretraining.method.losses import mse_loss, whole_map_perceptual_loss
from pacofr.pretraining.method.model import PaCoFR, load_pretrained
from pacofr.pretraining.method.patch_clusters import cluster_patches
from pacofr.pretraining.train import pretrain


def with_predictor(config, **changes):
    predictor = dataclasses.replace(config.model.predictor, **changes)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, predictor=predictor))


def batch_of(config, images=4, incubation=True):
    pixels = torch.from_numpy(TinyCrops().pixels[:images]) / 255
    draws = masking.sample_masks(
        0, 0, np.arange(images), config.model, config.masking, incubation=incubation
    )
    return pixels, *(torch.from_numpy(part) for part in draws)


def new_model(config):
    torch.manual_seed(0)
    model = PaCoFR(config.model)
    pixels = normalise(torch.from_numpy(TinyCrops().pixels) / 255)
    model.codebook.initialize_from(pixels, 8, torch.Generator().manual_seed(0))
    return model


def test_kmeans_finds_the_groups_of_every_position():
    """Two positions, each with three groups of its own, unequally many."""
    random = torch.Generator().manual_seed(1)
    centres = 5 * torch.randn(2, 3, 12, generator=random)
    group = torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
    patches = centres[:, group].transpose(0, 1)
    patches = patches + 0.01 * torch.randn(patches.shape, generator=random)
    found = cluster_patches(patches, 3, torch.Generator().manual_seed(0))
    apart = torch.cdist(found, centres)
    assert float(apart.amin(dim=1).max()) < 0.02
    assert (apart.argmin(dim=2).sort(dim=1).values == torch.arange(3)).all()


def test_kmeans_of_identical_patches_and_of_too_few_images():
    same = torch.ones(6, 2, 12)
    means = cluster_patches(same, 3, torch.Generator().manual_seed(0))
    assert torch.allclose(means, torch.ones(2, 3, 12))
    with pytest.raises(UserError, match="expected 3, got 2"):
        cluster_patches(same[:2], 3, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shared", [False, True])
def test_a_codebook_starts_from_clusters(shared):
    images = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = VitConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2)
    book = Codebook(CodebookConfig(init="kmeans", shared=shared), encoder)
    book.initialize_from(images, 8, torch.Generator().manual_seed(0))
    patches = patchify(images, 8)
    nearest = torch.cdist(patches.transpose(0, 1), book().detach()).argmin(dim=2)
    for position in range(1 if shared else 16):
        for token in range(3):
            members = patches.flatten(0, 1) if shared else patches[:, position]
            chosen = nearest.T.flatten() if shared else nearest[position]
            mean = members[chosen == token].mean(dim=0)
            assert torch.allclose(mean, book.tokens.detach()[position, token], atol=0.15)


def test_measures_of_similarity_tell_brightness_contrast_and_distance_apart():
    ramp = torch.linspace(-1, 1, 64)[:, None].expand(64, 3).flatten()
    patch = (0.2 * ramp + 1.0)[None, None]
    candidates = torch.stack(
        [2.0 + 0 * ramp, ramp - 1.0, 0.9 + 0 * ramp]  # bright; same pattern, dark; near in value
    )[:, None, None]
    chosen = {
        measure: int(belief_labels(candidates, patch, PredictorConfig(similarity=measure)))
        for measure in ("cosine", "centred", "l2")
    }
    assert chosen["centred"] == 1
    assert chosen["l2"] == 2
    assert chosen["cosine"] in (0, 2)


def test_balanced_labels_use_every_candidate_equally_often():
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 300, 5, generator=random) * 0.3
    scores[0] += 1.0  # plain labels would nearly always be the first candidate
    plain = torch.nn.functional.one_hot(scores.argmax(dim=0), 3).float().mean(dim=0)
    even = torch.nn.functional.one_hot(balanced(scores).argmax(dim=0), 3).float().mean(dim=0)
    assert plain[:, 0].min() > 0.9
    assert abs(even - 1 / 3).max() < 0.1


def test_judging_some_positions_leaves_the_others_their_choice():
    config = with_predictor(tiny_config(), judged=0.25)
    model = new_model(config)
    images, mask, _, _, judged = batch_of(config)
    assert (judged.sum(dim=1) == int(mask[0].sum() * 0.25)).all()
    assert not (judged & ~mask).any()
    patches = patchify(normalise(images), 8)
    chosen = torch.randint(3, mask.shape)
    decoded = torch.stack(list(model.candidate_pixels(patches, mask, judged, chosen)))
    tokens = model.codebook().detach()
    inputs = patches.clone()
    for b, i in mask.nonzero().tolist():
        inputs[b, i] = tokens[i, 2 if judged[b, i] else chosen[b, i]]
    assert torch.allclose(decoded[2], model.reconstruct(inputs), atol=1e-5)


def test_labels_from_the_tokens_are_the_nearest_tokens():
    config = with_predictor(tiny_config(), candidates_from="tokens", similarity="l2")
    model = new_model(config)
    images, mask, chosen, _, judged = batch_of(config)
    patches = patchify(normalise(images), 8)
    labels = model.labels(patches, mask, judged, chosen)
    nearest = torch.cdist(patches.transpose(0, 1), model.codebook().detach()).argmin(dim=2)
    assert torch.equal(labels, nearest.T)


def test_choices_are_dropped_after_incubation_too_if_asked():
    config = with_predictor(tiny_config(), drop_after=0.5)
    masked = int(16 * 0.75)
    for incubation, share in ((True, 0.75), (False, 0.5)):
        use_random = batch_of(config, incubation=incubation)[3]
        assert (use_random.sum(dim=1) == int(masked * share)).all()
    model = new_model(config)
    images, mask, random_token, use_random, judged = batch_of(config, incubation=False)
    chosen = model(images, mask, random_token, use_random, judged).chosen
    assert torch.equal(chosen[use_random], random_token[use_random])
    predicted = model.predictor(patchify(normalise(images), 8), mask).argmax(dim=-1)
    assert torch.equal(chosen[mask & ~use_random], predicted[mask & ~use_random])


def test_a_belief_from_the_context_does_not_see_masked_patches():
    config = with_predictor(tiny_config(), reads="context")
    model = new_model(config)
    images, mask, *others = batch_of(config)
    before = model(images, mask, *others, predictor_training=True).logits
    hidden = torch.nn.functional.interpolate(mask.view(-1, 1, 4, 4).float(), scale_factor=8)
    altered = torch.where(hidden.bool(), torch.rand(images.shape), images)
    after = model(altered, mask, *others, predictor_training=True).logits
    assert torch.equal(before, after)
    seen = visible_neighbourhood(patchify(images, 8), torch.zeros_like(mask))
    centre = seen.unflatten(2, (-1, 9))[..., 4]
    assert torch.equal(centre, patchify(images, 8))


def test_a_belief_from_the_encoder_is_a_target_and_no_hint():
    config = with_predictor(
        tiny_config(), reads="encoder", candidates_from="tokens", similarity="l2"
    )
    model = new_model(config)
    images, mask, random_token, *others = batch_of(config)
    output = model(images, mask, random_token, *others, predictor_training=True)
    assert torch.equal(output.chosen, random_token)
    output.cross_entropy.mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.encoder.blocks.parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.predictor.parameters())
    assert config.incubation_steps(100, steps_per_epoch=10) == 100


@pytest.mark.parametrize("over", ["masked", "unhinted"])
def test_the_pixel_error_may_leave_patches_out(over):
    config = with_predictor(tiny_config(), drop_after=0.5)
    model = new_model(config)
    images, mask, random_token, use_random, judged = batch_of(config, incubation=False)
    output = model(images, mask, random_token, use_random, judged, mse_over=over)
    counted = mask if over == "masked" else use_random
    each = (output.prediction - output.target).square().mean(dim=2)
    expected = torch.stack([row[kept].mean() for row, kept in zip(each, counted, strict=True)])
    assert torch.allclose(output.mse, expected)
    assert not torch.allclose(output.mse, mse_loss(output.prediction, output.target))


def test_an_error_over_unhinted_patches_needs_some():
    loss = LossConfig(perceptual_net="none", mse_over="unhinted")
    with pytest.raises(UserError, match="drop-after"):
        tiny_config(loss=loss)


def test_the_ring_around_the_photo_is_left_out_of_usage_and_cross_entropy():
    ring = masking.constant_positions(14)
    assert ring.sum() == 52
    assert ring.reshape(14, 14)[1:-1, 1:-1].sum() == 0
    assert masking.constant_positions(8).sum() == 0
    encoder = VitConfig(image_size=56, patch_size=4, width=32, depth=1, heads=2)
    config = with_predictor(tiny_config(), skip_constant=True)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, encoder=encoder))
    model = PaCoFR(config.model)
    draws = masking.sample_masks(0, 0, np.arange(3), config.model, config.masking)
    mask, *others = (torch.from_numpy(part) for part in draws)
    images = torch.rand(3, 3, 56, 56)
    output = model(images, mask, *others, predictor_training=True)
    output.cross_entropy.sum().backward()
    moved = model.predictor.position.grad.abs().sum(dim=1) > 0
    inside = mask & torch.from_numpy(~ring)
    assert torch.equal(moved, inside.any(dim=0))
    counts = count_candidates(output, mask & model.considered, 3).double()
    assert counts.sum() == inside.sum()
    assert candidate_usage(counts, config.model).dead_token_fraction < 1.0


def test_equation_3_of_the_whole_map():
    torch.manual_seed(0)
    ours = [torch.randn(2, 5, 7) for _ in range(3)]
    theirs = [torch.randn(2, 5, 7) for _ in range(3)]
    for b in range(2):
        expected = 0.0
        for a, c in zip(ours, theirs, strict=True):
            x, y = a[b].flatten().double(), c[b].flatten().double()
            expected -= float(x @ y / (x.norm() * y.norm()))
        assert float(whole_map_perceptual_loss(ours, theirs)[b]) == pytest.approx(
            expected, abs=1e-5
        )


def test_the_codebooks_learning_rate_has_its_own_factor():
    model = PaCoFR(tiny_config().model)
    optimizer = make_adamw(
        model, weight_decay=0.05, undecayed=["codebook."], lr_scales={"codebook.": 20.0}
    )
    set_learning_rate(optimizer, 1e-3)
    of = {p: group for group in optimizer.param_groups for p in group["params"]}
    assert len(of) == len(list(model.parameters()))
    assert of[model.codebook.tokens]["lr"] == pytest.approx(2e-2)
    assert of[model.codebook.tokens]["weight_decay"] == 0.0
    assert of[model.encoder.cls_token]["lr"] == pytest.approx(1e-3)


class Stopping(TinyCrops):
    """Cannot be read from step 7 on."""

    reads = 0

    def read(self, epoch, positions):
        self.reads += 1
        if self.reads > 7:
            raise UserError("no more")
        return super().read(epoch, positions)


def test_a_mended_run_resumes_exactly(tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert pretrain(mended(tiny_config()), TinyCrops(), RunOptions(out=whole, device="cpu")) == 0
    frequent = mended(tiny_config(checkpoint_minutes=0.0))
    with pytest.raises(UserError, match="no more"):
        pretrain(frequent, Stopping(), RunOptions(out=parted, device="cpu"))
    assert pretrain(mended(tiny_config()), TinyCrops(), RunOptions(out=parted, device="cpu")) == 0
    assert_same_end(parted, whole)


def test_a_run_of_version_1_goes_on_and_its_model_loads(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match="no more"):
        pretrain(tiny_config(checkpoint_minutes=0.0), Stopping(), RunOptions(out=out, device="cpu"))
    newest = checkpoints(out)[0]
    state_file, model_file = newest / "training/state.json", newest / "model/config.json"
    state, model = json.loads(state_file.read_text()), json.loads(model_file.read_text())
    for part, fields in VERSION_1_METHOD.items():
        for name in fields:
            del state["config"]["model"][part][name], model["model"][part][name]
    del state["config"]["loss"]["mse_over"]
    model["version"] = 1
    state_file.write_text(json.dumps(state))
    model_file.write_text(json.dumps(model))
    assert model_to_json(load_pretrained(newest).config) == model_to_json(tiny_config().model)
    assert pretrain(tiny_config(), TinyCrops(), RunOptions(out=out, device="cpu")) == 0


def test_a_run_does_not_go_on_with_another_codebook(tmp_path):
    out = tmp_path / "run"
    assert pretrain(tiny_config(), TinyCrops(), RunOptions(out=out, device="cpu")) == 0
    with pytest.raises(UserError, match=r"model\.codebook\.init: mean_patch there, kmeans here"):
        pretrain(mended(tiny_config()), TinyCrops(), RunOptions(out=out, device="cpu"))
