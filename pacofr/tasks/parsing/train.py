"""Training of face parsing."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from pacofr.engine.batches.sampling import RankBatch
from pacofr.engine.distributed import World
from pacofr.engine.step_metrics import StepLoss
from pacofr.engine.task import Stage
from pacofr.models.encoders import FaceEncoder
from pacofr.tasks.config import ParsingConfig, TaskModelConfig, TrainedWith
from pacofr.tasks.evaluation import Scores, to_images
from pacofr.tasks.parsing.classes import PARSING_SETS
from pacofr.tasks.parsing.evaluate import score_labels
from pacofr.tasks.parsing.samples import ParsingBatch, ParsingReader
from pacofr.tasks.records import Split
from pacofr.tasks.training import TaskTraining


class ParsingTraining(TaskTraining[ParsingBatch]):
    """A class for every pixel of the frame."""

    def __init__(
        self,
        config: ParsingConfig,
        encoder: FaceEncoder,
        train: Split,
        test: Split | None,
        world: World,
        trained: TrainedWith,
    ) -> None:
        assert config.frame is not None
        assert config.warp is not None
        model_config = TaskModelConfig(
            task="parsing",
            data=train.data,
            outputs=len(PARSING_SETS[train.data].classes),
            encoder=encoder.config,
            head=config.head,
            frame=config.frame,
            warp=config.warp,
        )
        super().__init__(config, model_config, encoder, train, test, world, trained)
        self.config = config

    def read(self) -> Callable[[RankBatch], ParsingBatch]:
        """Augmented frames and label maps."""
        outputs = self.model_config.outputs
        return ParsingReader(self.train.samples, outputs, self.config, self.config.seed)

    def loss(self, forward: nn.Module, batch: ParsingBatch, stage: Stage) -> StepLoss:
        """Cross-entropy over all pixels of the frame."""
        logits = forward(to_images(batch.frames))
        with torch.autocast(logits.device.type, enabled=False):
            logits = F.interpolate(
                logits.float(), batch.labels.shape[-2:], mode="bilinear", align_corners=False
            )
            entropy = F.cross_entropy(logits, batch.labels.long())
        return StepLoss({"loss": entropy})

    def scores(self, model: nn.Module) -> Scores:
        """F1 of every class on the test split."""
        assert self.test is not None
        device, workers = self.world.device, self.config.workers
        return score_labels(model, self.model_config, self.test, device, workers)
