"""The three networks of MTCNN (Zhang et al. 2016), with the layer sizes of the `mtcnn` package.

They take RGB scaled to (x - 127.5) / 128. Scores are probabilities of a face.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class PNet(nn.Module):
    """Proposals: face score and box corrections for every 12x12 window, two pixels apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.box, self.score = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)

    def forward(
        self, image: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b y x"], Float[Tensor, "b 4 y x"]]:
        """Scores in [0, 1] and corrections of the windows' four sides in units of 12 px."""
        x = functional.max_pool2d(self.prelu1(self.conv1(image)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return _probability(self.score(x), 1), self.box(x)


class RNet(nn.Module):
    """Refinement of 24x24 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.box, self.score = nn.Linear(128, 4), nn.Linear(128, 2)

    def forward(
        self, patch: Float[Tensor, "n 3 24 24"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 4"]]:
        """Scores in [0, 1] and corrections of the four sides in units of the box."""
        x = functional.max_pool2d(self.prelu1(self.conv1(patch)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense(x.flatten(1)))
        return _probability(self.score(x), 1), self.box(x)


class ONet(nn.Module):
    """Last word on 48x48 patches, with five points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.box, self.points = nn.Linear(256, 4), nn.Linear(256, 10)
        self.score = nn.Linear(256, 2)

    def forward(
        self, patch: Float[Tensor, "n 3 48 48"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 4"], Float[Tensor, "n 5 2"]]:
        """Scores in [0, 1], corrections and five points (x, y), both in units of the box."""
        x = functional.max_pool2d(self.prelu1(self.conv1(patch)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = functional.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense(x.flatten(1)))
        points = self.points(x).unflatten(1, (2, 5)).transpose(1, 2)
        return _probability(self.score(x), 1), self.box(x), points


def _probability(logits: Tensor, dim: int) -> Tensor:
    """Softmax over (no face, face): probability of the second."""
    no_face, face = logits.unbind(dim)
    return torch.sigmoid(face - no_face)
