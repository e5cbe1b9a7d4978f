"""Configurations of pre-training: presets, rows of Table 7, and JSON that is read strictly."""

import dataclasses
import json
import subprocess
import sys

import pytest

from pacofr.errors import UserError
from pacofr.models.config import VitConfig
from pacofr.pretraining import config, presets
from pacofr.pretraining.method.model import PaCoFR
from pacofr.utils.config_json import from_json

MODEL = config.PaCoFRConfig(
    encoder=VitConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2),
    decoder=config.DecoderConfig(width=32, heads=2),
    predictor=config.PredictorConfig(hidden=16),
)
RUN = config.PretrainConfig(model=MODEL, loss=config.LossConfig(perceptual_net="none"))


def test_table_7_rows_change_what_they_say():
    for name, row in presets.ABLATIONS.items():
        run = row.apply(presets.paper())
        positions = 1 if run.model.codebook.shared else run.model.encoder.patches
        tokens = PaCoFR(row.apply(RUN).model).codebook.tokens
        assert tokens.shape[1] == row.candidates
        assert positions == (1 if name == "1-token" else 196)
        expected = {"3x196-predictor": 10, "5x196-predictor": 10, "3x196-no-incubation": 320}
        expected["mended"] = 320  # the belief is a target of the whole run
        assert run.incubation_steps(320, steps_per_epoch=10) == expected.get(name, 0)
    assert presets.ABLATIONS["3x196-predictor"].apply(presets.paper()) == presets.paper()


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
    assert from_json(config.PaCoFRConfig, content["model"], "here") == MODEL
    change(content)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=says):
        config.model_from_json(tmp_path)


def test_configs_survive_json_and_refuse_nonsense():
    for name in presets.PRESETS:
        run = dataclasses.replace(presets.preset(name, "5x196-random"), seed=3)
        content = json.loads(json.dumps(dataclasses.asdict(run), default=str))
        assert from_json(config.PretrainConfig, content, "here") == run
    with pytest.raises(UserError, match="unknown preset"):
        presets.preset("huge")
    with pytest.raises(UserError, match="Table 7"):
        presets.preset("micro", "7x196")
    with pytest.raises(UserError, match="multiple"):
        VitConfig(image_size=100)


def test_configs_and_draws_need_no_torch():
    code = (
        "import pacofr.pretraining.presets, pacofr.pretraining.command, pacofr.models.config, sys; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
