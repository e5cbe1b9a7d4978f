"""A clip as one animated GLB: the person at rest, and morph weights, jaw, eyes and head over time.

Morph targets are the head's own expressions without the turns of jaw and eyes, which the joints
jaw, left_eye and right_eye make; the joint global turns and moves the head as the camera saw it,
around where it is in the mean. Key frames stand at the video's own times.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from flame_assets.model.head import JOINT_NAMES
from flame_assets.model.head_module import HeadDecoder
from mica_ext.export.blendshapes import morphs_without_joints
from mica_ext.export.clip_json import SavedClip
from mica_ext.export.gltf.animation import Animation
from mica_ext.export.gltf.glb import glb_bytes
from mica_ext.export.surface import surface_of
from mica_ext.files import write_bytes_atomic


def save_clip_glb(path: Path, clip: SavedClip, decoder: HeadDecoder) -> None:
    """Write the .glb.

    Raises:
        UserError: it cannot be written.
    """
    head, (moved, camera) = decoder.head, clip.parameters
    rest, targets, skeleton = morphs_without_joints(decoder, moved.shape[:1])
    turns = (moved.global_pose, moved.neck_pose, moved.jaw_pose)
    turns = torch.stack([*turns, moved.left_eye_pose, moved.right_eye_pose], 1).double().numpy()
    rotations = {
        joint: Rotation.from_rotvec(turns[:, joint]).as_quat()
        for joint in range(len(JOINT_NAMES))
        if np.abs(turns[:, joint]).max() > 0
    }
    way = camera.translation.double().numpy()
    animation = Animation(
        name=Path(clip.video.name).stem,
        times_s=clip.times_s,
        weights=moved.expression.numpy(),
        rotations=rotations,
        root_translation=skeleton.positions[0] + way - way.mean(0),
    )
    note = f"made with the head {head.name} {head.version}: {head.licence}"
    surface = surface_of(head, rest.numpy())
    write_bytes_atomic(path, glb_bytes(surface, targets, note, skeleton, animation))
