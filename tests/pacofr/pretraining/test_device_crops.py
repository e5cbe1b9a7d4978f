"""Crops held on the device are those that are read, and a run on them is the same run."""

import numpy as np
import pytest
import torch
from helpers.crops import write_shards
from helpers.pacofr_tiny import TinyCrops, mended, tiny_config
from helpers.run_files import assert_same_end

from pacofr.engine.task import RunOptions
from pacofr.errors import UserError
from pacofr.pretraining.config import DataConfig
from pacofr.pretraining.data import ShardCrops
from pacofr.pretraining.device_crops import DeviceCrops, crop_places
from pacofr.pretraining.held_out import split_crops
from pacofr.pretraining.train import pretrain


@pytest.mark.parametrize("flip", [True, False])
def test_they_are_the_crops_that_are_read(tmp_path, flip):
    whole = ShardCrops(
        write_shards(tmp_path / "shards"), side=64, config=DataConfig(flip=flip), seed=1
    )
    positions = np.array([4, 0, 4, 9, 7, 2, 1])
    for crops in (whole, *split_crops(whole, 1)):
        some = positions % len(crops)
        held = DeviceCrops(crops, torch.device("cpu"))
        for epoch in range(3):
            found = held.images(torch.from_numpy(crop_places(crops, epoch, some)))
            assert np.array_equal(found.numpy(), crops.read(epoch, some))
    mirrored = [whole.mirrors(epoch, np.arange(12)).sum() for epoch in range(20)]
    assert (0 < np.mean(mirrored) < 12) == flip


@pytest.mark.usefixtures("one_thread")
def test_a_run_on_them_is_the_same_run(tmp_path):
    class Fixed(TinyCrops):
        def mirrors(self, epoch, positions):
            return (positions + epoch) % 2 == 0

        def unmirrored(self, positions):
            return self.pixels[positions]

    for on_device in (False, True):
        config = mended(tiny_config(data=DataConfig(workers=0, on_device=on_device)))
        out = tmp_path / str(on_device)
        assert pretrain(config, Fixed(), RunOptions(out=out, device="cpu")) == 0
    assert_same_end(tmp_path / "False", tmp_path / "True")


def test_random_windows_are_not_held():
    with pytest.raises(UserError, match=r"--data\.resize resize"):
        DataConfig(on_device=True, resize="random_crop")
