"""What a face is to the product: parameters of a head and the camera it was seen with."""

from typing import NamedTuple

from flame_assets.model.head_module import HeadParameters
from mica_ext.models.projection import Camera


class FaceParameters(NamedTuple):
    """A batch of faces; both parts share the batch size."""

    head: HeadParameters
    camera: Camera
