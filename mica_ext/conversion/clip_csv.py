"""A clip as Live Link Face's CSV: ARKit's weights, and angles of head and eyes, at real times."""

from pathlib import Path

import numpy as np

from flame_assets.model.head import HeadModel
from mica_ext.conversion.arkit_files import write_arkit_motion
from mica_ext.conversion.expression_converter import ExpressionConverter
from mica_ext.conversion.live_link_angles import live_link_angles
from mica_ext.conversion.motion import ARKIT_NAMES, ArkitMotion, HeadMotion
from mica_ext.export.clip_json import SavedClip
from mica_ext.shape_transfer.shape_store import arkit_shapes


def save_clip_csv(path: Path, clip: SavedClip, head: HeadModel) -> None:
    """Write the .csv; expressions of a head without ARKit's names are converted.

    Raises:
        UserError: it cannot be written, or the head's landmarks are not those of a face.
    """
    motion = arkit_motion_of(clip, head)
    steps = np.diff(clip.times_s)
    write_arkit_motion(path, motion, 1 / float(np.median(steps)) if len(steps) else 30.0)


def arkit_motion_of(clip: SavedClip, head: HeadModel) -> ArkitMotion:
    """The clip's frames in ARKit's weights.

    Raises:
        UserError: the head's landmarks are not those of a face.
    """
    moved = clip.parameters.head
    parts = (moved.expression, moved.jaw_pose, moved.left_eye_pose, moved.right_eye_pose)
    expression, jaw, left, right = (part.double().numpy() for part in parts)
    if head.expression_convention == "arkit":
        weights = np.zeros((len(expression), len(ARKIT_NAMES)))
        for column, name in enumerate(head.expression_names):
            weights[:, ARKIT_NAMES.index(name)] = expression[:, column]
    else:
        converter = ExpressionConverter(head, arkit_shapes(head).shapes)
        weights = converter.to_arkit(HeadMotion(expression, jaw, left, right))[0].weights
    angles = live_link_angles(moved.global_pose.double().numpy(), left, right)
    return ArkitMotion(weights, angles=angles, times_s=clip.times_s)
