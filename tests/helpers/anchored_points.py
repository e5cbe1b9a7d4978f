"""The 478 points of posed heads, from their meshes."""

import torch
from scipy.spatial.transform import Rotation

from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.fitting.correspondence.anchors import PointAnchors, locate_points
from mica_ext.fitting.correspondence.calibration import UNCALIBRATED, load_calibration
from mica_ext.fitting.correspondence.mean_picture import MeanPicture, mean_picture
from mica_ext.fitting.gaze import IRIS_DEPTH

CALIBRATION = load_calibration(UNCALIBRATED.parent)


def picture_of(decoder: HeadDecoder) -> MeanPicture:
    """The mean person's picture, with the head posed to it."""
    neutral = decoder(HeadParameters.zeros(decoder.head)).vertices
    return mean_picture(decoder.frontal_landmarks(neutral)[0].double().numpy(), CALIBRATION.mean)


def anchors_of(decoder: HeadDecoder) -> PointAnchors:
    """Anchors by the mean face that comes without a calibration."""
    return locate_points(decoder, picture_of(decoder))


def points_of(decoder: HeadDecoder, parameters: HeadParameters) -> torch.Tensor:
    """Points [B,478,3] of posed heads [m]; irises by the eyes' rotations alone."""
    anchors = anchors_of(decoder)
    mesh = decoder(parameters)
    corners = torch.from_numpy(decoder.head.triangles[anchors.triangles]).long()
    barycentric = torch.from_numpy(anchors.barycentric).float()
    spots = torch.einsum("blcx,lc->blx", mesh.vertices[:, corners], barycentric)
    offsets = torch.from_numpy(anchors.offsets).float()
    jaw = (decoder.skinning_weights[corners, 2] * barycentric).sum(1)[:, None]
    head_turn, jaw_turn, left, right = (
        torch.from_numpy(Rotation.from_rotvec(pose.double().numpy()).as_matrix()).float()
        for pose in (
            parameters.global_pose,
            parameters.jaw_pose,
            parameters.left_eye_pose,
            parameters.right_eye_pose,
        )
    )
    carried = (1 - jaw) * offsets + jaw * (offsets @ jaw_turn.mT)
    skin = spots + carried @ head_turn.mT
    ahead = torch.tensor([0.0, 0.0, IRIS_DEPTH])
    irises = [
        (mesh.joints[:, joint] + (head_turn @ eye @ ahead))[:, None].expand(-1, 5, -1)
        for joint, eye in ((4, right), (3, left))
    ]
    return torch.cat([skin, *irises], 1)
