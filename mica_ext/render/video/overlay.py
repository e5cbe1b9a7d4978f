"""Frames of an overlay video: the frame, the head over it in clay, and the head from the front."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_assets.model.head import HeadModel
from mica_ext.models.types import Camera
from mica_ext.render.clay import SOFT_LIGHT, clay_colours
from mica_ext.render.overlay import CLAY_OPACITY, backdrop, face_weights
from mica_ext.render.rasterizers import Rasterizer
from mica_ext.render.video.frames import MeshFrames
from mica_ext.render.views import View, portrait_view

HEIGHT_PX = 480
VIEW_ASPECT = 0.8
"""Width over height of the head's own panel."""


class ClipOverlay:
    """Draws the frames of one clip."""

    def __init__(
        self,
        head: HeadModel,
        rest: Float[np.ndarray, "V 3"],
        size: tuple[int, int],
        rasterizer: Rasterizer,
    ) -> None:
        """For a video of `size` (width, height) [px] of the person `rest` [m]."""
        self.scale = min(HEIGHT_PX / size[1], 1.0)
        self.size = max(round(size[0] * self.scale), 1), max(round(size[1] * self.scale), 1)
        height, width = self.size[1], max(round(self.size[1] * VIEW_ASPECT), 1)
        self.backdrop = backdrop(height, width)
        self.view = portrait_view(rest, 0.0, height, width)
        colours = clay_colours(head, rest)
        closed = "mouth_inside" in head.regions  # else the back of the head shows through the lips

        def frames(opacity: float | Float[np.ndarray, " V"]) -> MeshFrames:
            return MeshFrames(
                head.triangles, colours, SOFT_LIGHT, opacity, rasterizer, closed=closed
            )

        self.over, self.front = frames(CLAY_OPACITY * face_weights(head)), frames(1.0)

    def __call__(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        camera: Camera,
        posed: Float[np.ndarray, "V 3"] | None,
        straight: Float[np.ndarray, "V 3"],
    ) -> UInt8[np.ndarray, "height width 3"]:
        """One frame.

        Args:
            image: the frame, in any size.
            camera: of the video, a batch of one.
            posed: the head as in the frame [m]; None draws nothing over it.
            straight: the head with its expression alone [m].
        """
        frame = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        drawn = frame
        if posed is not None:
            view = View.from_camera(camera)
            view = view._replace(
                focal_px=view.focal_px * self.scale,
                centre_px=(view.centre_px + 0.5) * self.scale - 0.5,
            )
            drawn = self.over(posed, view, frame)
        front = self.front(straight, self.view, self.backdrop)
        return np.concatenate([frame, drawn, front], axis=1)
