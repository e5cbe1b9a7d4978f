"""Training of face alignment."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import nn

from pacofr.engine.batches.sampling import RankBatch
from pacofr.engine.distributed import World
from pacofr.engine.step_metrics import StepLoss
from pacofr.engine.task import Stage
from pacofr.errors import UserError
from pacofr.models.encoders import FaceEncoder
from pacofr.tasks.alignment.evaluate import predict_points, score_points
from pacofr.tasks.alignment.heatmaps import (
    heatmap_loss,
    point_loss,
    soft_argmax,
    target_heatmaps,
)
from pacofr.tasks.alignment.layouts import ALIGNMENT_SETS
from pacofr.tasks.alignment.samples import AlignmentBatch, AlignmentReader
from pacofr.tasks.config import AlignmentConfig, TaskModelConfig, TrainedWith
from pacofr.tasks.evaluation import Scores, to_images
from pacofr.tasks.records import Split
from pacofr.tasks.training import TaskTraining


class AlignmentTraining(TaskTraining[AlignmentBatch]):
    """Heat maps of landmarks."""

    implied_config: ClassVar[Mapping[str, object]] = {
        "start_logit": -4.0,
        "heatmaps": "sigmoid",
        "mirror": 0.0,
    }

    def __init__(
        self,
        config: AlignmentConfig,
        encoder: FaceEncoder,
        train: Split,
        test: Split | None,
        world: World,
        trained: TrainedWith,
    ) -> None:
        assert config.frame is not None
        assert config.crop_scale is not None
        if config.mirror and ALIGNMENT_SETS[train.data].points != 68:
            raise UserError(
                f"--mirror: expected a data set of 68 landmarks, got {train.data}; leave it out"
            )
        model_config = TaskModelConfig(
            task="alignment",
            data=train.data,
            outputs=ALIGNMENT_SETS[train.data].points,
            encoder=encoder.config,
            head=config.head,
            frame=config.frame,
            crop_scale=config.crop_scale,
            heatmaps=config.heatmaps,
        )
        super().__init__(config, model_config, encoder, train, test, world, trained)
        self.config = config
        nn.init.constant_(self.task_model.decoder.bias, config.start_logit)

    def read(self) -> Callable[[RankBatch], AlignmentBatch]:
        """Augmented frames and landmarks."""
        return AlignmentReader(self.train.samples, self.config, self.config.seed)

    def loss(self, forward: nn.Module, batch: AlignmentBatch, stage: Stage) -> StepLoss:
        """Distance of the decoded points plus cross-entropy of the heat maps."""
        logits = forward(to_images(batch.frames))
        with torch.autocast(logits.device.type, enabled=False):
            logits, size = logits.float(), self.config.heatmap_size
            target = target_heatmaps(batch.points, size, size, self.config.heatmap_radius)
            distance = point_loss(soft_argmax(logits, self.config.heatmaps), batch.points)
            entropy = heatmap_loss(logits, target, self.config.heatmaps)
        return StepLoss(
            {"loss": distance + entropy, "distance": distance, "cross_entropy": entropy}
        )

    def scores(self, model: nn.Module) -> Scores:
        """All measures of the data set, on the test split and its subsets."""
        assert self.test is not None
        points = predict_points(
            model, self.model_config, self.test.samples, self.world.device, self.config.workers
        )
        return score_points(points, self.test)
