"""HeadDecoder: a head model as a torch module, from parameters to vertices, joints and landmarks.

The model equation is FLAME's (Li et al. 2017), for any HeadModel:

    shaped = template + shape_basis s + expression_basis e        joints = regressor shaped
    lids   = shaped, blinks corrected, pushed out of the globes   (heads with closures, contacts)
    posed  = lids + pose_basis (R - I)                            vertices = skin(posed, joints, R)
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flame_assets.model import landmarks
from flame_assets.model.head import CONTOUR_ROWS, HeadModel
from flame_assets.model.lbs import pose_feature, pose_joints, rotation_matrices, skin

FRONTAL_ROW = CONTOUR_ROWS  # of the landmark tables: after the contours by yaw


class HeadParameters(NamedTuple):
    """Coefficients of a batch of heads; poses are axis-angle [rad] relative to the parent joint."""

    shape: Float[Tensor, "B S"]
    expression: Float[Tensor, "B E"]
    global_pose: Float[Tensor, "B 3"]
    neck_pose: Float[Tensor, "B 3"]
    jaw_pose: Float[Tensor, "B 3"]
    left_eye_pose: Float[Tensor, "B 3"]
    right_eye_pose: Float[Tensor, "B 3"]

    @classmethod
    def zeros(
        cls,
        head: HeadModel,
        batch: int = 1,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "HeadParameters":
        """The mean identity, neutral, at rest."""
        widths = (head.shape_count, head.expression_count, 3, 3, 3, 3, 3)
        return cls(*(torch.zeros(batch, width, dtype=dtype, device=device) for width in widths))


class HeadMesh(NamedTuple):
    """Posed heads; all points in metres, in the head's frame (y up, z out of the face)."""

    vertices: Float[Tensor, "B V 3"]
    joints: Float[Tensor, "B 5 3"]  # global, neck, jaw, left eye, right eye
    landmarks: Float[Tensor, "B 68 3"]  # iBUG, contour by head yaw
    landmarks7: Float[Tensor, "B 7 3"]  # NoW order, landmarks.NOW_LANDMARKS


class HeadDecoder(nn.Module):
    """A differentiable head. Its arrays are buffers that no state dict ever holds.

    The joints are linear in the coefficients, so their regressor is folded into two small arrays
    once. That frees the module to compute a subset of the vertices with exact joints:
    `landmark_head` has the ones under the landmarks only and is what fits should call.
    """

    template: Float[Tensor, "V 3"]
    basis: Float[Tensor, "K V 3"]  # K = S + E; coefficients first: one contiguous product
    pose_basis: Float[Tensor, "36 V 3"]
    skinning_weights: Float[Tensor, "V 5"]
    joints_template: Float[Tensor, "5 3"]
    joints_basis: Float[Tensor, "K 5 3"]
    landmark_corners: Int[Tensor, "80 68 3"]
    landmark_weights: Float[Tensor, "80 68 3"]

    def __init__(self, head: HeadModel, *, vertices: Int[np.ndarray, " n"] | None = None) -> None:
        """Set up `head`, or only its `vertices` (ids; they must hold all landmark corners)."""
        super().__init__()
        self.head = head
        self.vertex_ids = np.arange(head.vertices_count) if vertices is None else vertices
        keep = self.vertex_ids
        position = np.full(head.vertices_count, -1)  # of a vertex id among those kept
        position[keep] = np.arange(len(keep))
        corners, weights = _landmark_tables(head)
        if (position[corners] < 0).any():
            raise ValueError("HeadDecoder: expected `vertices` to hold all landmark corners")
        basis = np.concatenate([head.shape_basis, head.expression_basis], -1)
        joints_basis = np.einsum("jv,vck->jck", head.joint_regressor, basis, optimize=True)
        self._hold("template", head.template[keep])
        self._hold("basis", basis[keep].transpose(2, 0, 1))
        self._hold("pose_basis", head.pose_basis[keep].transpose(2, 0, 1))
        self._hold("skinning_weights", head.skinning_weights[keep])
        self._hold("joints_template", head.joint_regressor @ head.template)
        self._hold("joints_basis", joints_basis.transpose(2, 0, 1))
        self._hold("landmark_corners", position[corners])
        self._hold("landmark_weights", weights)
        for index, closure in enumerate(head.lid_closures):
            kept = position[closure.vertices] >= 0
            self._hold(f"closing_vertices_{index}", position[closure.vertices[kept]])
            self._hold(f"closing_basis_{index}", closure.basis[kept].transpose(2, 0, 1))
        for index, contact in enumerate(head.lid_contacts):
            kept = position[contact.vertices] >= 0
            self._hold(f"lid_vertices_{index}", position[contact.vertices[kept]])
            self._hold(f"lid_radius_{index}", contact.radius[kept])

    def forward(self, parameters: HeadParameters) -> HeadMesh:
        """Vertices [m], joints [m] and landmarks [m] of a batch of heads."""
        shaped, joints = self._shape(parameters)
        poses = torch.stack(parameters[2:], 1)
        rotations = rotation_matrices(poses)
        correctives = torch.einsum("fvc,bf->bvc", self.pose_basis, pose_feature(rotations))
        posed = pose_joints(rotations, joints, self.head.joint_parents)
        vertices = skin(shaped + correctives, posed.transforms, self.skinning_weights)
        row = landmarks.contour_row(landmarks.head_yaw(rotations[:, 0], rotations[:, 1]))
        points = self._landmarks(vertices, row)
        return HeadMesh(vertices, posed.positions, points, points[:, landmarks.NOW_LANDMARKS])

    def frontal_landmarks(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B 68 3"]:
        """The 68 landmarks [m] with the contour of a frontal head, whatever the pose."""
        row = torch.full_like(vertices[:, 0, 0], FRONTAL_ROW, dtype=torch.long)
        return self._landmarks(vertices, row)

    def landmark_head(self) -> "HeadDecoder":
        """The same head with only the vertices under its landmarks: same landmarks and joints."""
        corners, _ = _landmark_tables(self.head)
        small = HeadDecoder(self.head, vertices=np.unique(corners))
        return small.to(device=self.template.device, dtype=self.template.dtype)

    def _shape(
        self, parameters: HeadParameters
    ) -> tuple[Float[Tensor, "B V 3"], Float[Tensor, "B 5 3"]]:
        coefficients = torch.cat([parameters.shape, parameters.expression], -1)
        if coefficients.shape[-1] != len(self.basis):
            raise ValueError(
                f"{self.head.name} has {self.head.shape_count} shape and "
                f"{self.head.expression_count} expression coefficients, got "
                f"{parameters.shape.shape[-1]} and {parameters.expression.shape[-1]}"
            )
        shaped = self.template + torch.einsum("kvc,bk->bvc", self.basis, coefficients)
        joints = self.joints_template + torch.einsum("kjc,bk->bjc", self.joints_basis, coefficients)
        return self._move_lids(shaped, joints, parameters.expression, coefficients), joints

    def lid_offsets(
        self, shape: Float[Tensor, "B S"], expression: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B V 3"]:
        """What closures and contacts of the lids add to the linear model, at rest [m]."""
        coefficients = torch.cat([shape, expression], -1)
        shaped = self.template + torch.einsum("kvc,bk->bvc", self.basis, coefficients)
        joints = self.joints_template + torch.einsum("kjc,bk->bjc", self.joints_basis, coefficients)
        return self._move_lids(shaped, joints, expression, coefficients) - shaped

    def _move_lids(
        self,
        shaped: Float[Tensor, "B V 3"],
        joints: Float[Tensor, "B 5 3"],
        expression: Float[Tensor, "B E"],
        coefficients: Float[Tensor, "B K"],
    ) -> Float[Tensor, "B V 3"]:
        for index, closure in enumerate(self.head.lid_closures):
            closing: Tensor = getattr(self, f"closing_vertices_{index}")
            basis: Tensor = getattr(self, f"closing_basis_{index}")
            column = self.head.expression_names.index(closure.expression)
            offset = torch.einsum("knc,bk->bnc", basis, coefficients)
            shaped = shaped.index_add(1, closing, offset * expression[:, column, None, None])
        for index, contact in enumerate(self.head.lid_contacts):
            lids: Tensor = getattr(self, f"lid_vertices_{index}")
            radius: Tensor = getattr(self, f"lid_radius_{index}")
            ray = shaped[:, lids] - joints[:, contact.joint, None]
            distance = ray.norm(dim=-1, keepdim=True)
            push = (radius[:, None] / distance - 1).clamp(min=0) * ray
            shaped = shaped.index_add(1, lids, push)
        return shaped

    def _landmarks(
        self, vertices: Float[Tensor, "B V 3"], row: Int[Tensor, " B"]
    ) -> Float[Tensor, "B 68 3"]:
        return landmarks.points_on(vertices, self.landmark_corners[row], self.landmark_weights[row])

    def _hold(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(array, order="C")), persistent=False)


Flame = HeadDecoder
"""The same class, by the name that users know from the official repositories."""


def _landmark_tables(
    head: HeadModel,
) -> tuple[Int[np.ndarray, "80 68 3"], Float[np.ndarray, "80 68 3"]]:
    """Vertex ids and weights of the 68 points: a row per contour, then the frontal one."""
    contours = np.concatenate([head.contour_triangles, head.static_contour_triangles[None]])
    weights = np.concatenate([head.contour_barycentric, head.static_contour_barycentric[None]])
    inner = np.broadcast_to(head.landmark_triangles, (len(contours), 51))
    inner_weights = np.broadcast_to(head.landmark_barycentric, (len(contours), 51, 3))
    triangles = np.concatenate([contours, inner], 1)
    return head.triangles[triangles], np.concatenate([weights, inner_weights], 1)
