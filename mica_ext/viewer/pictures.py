"""Pictures inside a page."""

import base64

import cv2
import numpy as np
from jaxtyping import UInt8

QUALITY = 90
"""Of the JPEG."""


def data_url(picture: UInt8[np.ndarray, "H W 3"]) -> str:
    """An RGB picture as a JPEG in a data URL."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    done, packed = cv2.imencode(".jpg", picture[:, :, ::-1], quality)
    if not done:
        raise ValueError("the picture cannot be packed as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(packed.tobytes()).decode()
