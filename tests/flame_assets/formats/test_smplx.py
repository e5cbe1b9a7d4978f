"""smplx loads the exported folder and gives the same head, but for what smplx cannot hold."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.flame_tiny import tiny_head

from flame_assets.errors import UserError
from flame_assets.formats.smplx import export_smplx, lid_contact_offset
from flame_assets.model.head_module import HeadDecoder, HeadParameters


def smplx_flame(folder, head):
    import smplx

    return smplx.create(
        str(folder),
        model_type="flame",
        num_betas=head.shape_count,
        num_expression_coeffs=head.expression_count,
        use_face_contour=True,
        batch_size=5,
    )


def compare_with_smplx(head, folder):
    """Same vertices, joints and landmarks for random heads that are turned by their root only."""
    model = smplx_flame(export_smplx(head, folder), head)
    torch.manual_seed(1)
    p = HeadParameters(*(0.3 * torch.randn_like(x) for x in HeadParameters.zeros(head, 5)))
    yaw = torch.tensor([-1.5, -0.4, 0.0, 0.3, 1.2])  # [rad]
    zero = torch.zeros(5, 3)
    p = p._replace(
        expression=p.expression.abs(),
        global_pose=torch.stack([zero[:, 0], yaw, zero[:, 0]], 1),
        neck_pose=zero,  # smplx's contour does not follow the neck
    )
    out = model(
        betas=p.shape,
        expression=p.expression,
        global_orient=p.global_pose,
        neck_pose=p.neck_pose,
        jaw_pose=p.jaw_pose,
        leye_pose=p.left_eye_pose,
        reye_pose=p.right_eye_pose,
    )
    mesh = HeadDecoder(head)(p)
    torch.testing.assert_close(out.vertices, mesh.vertices, atol=2e-6, rtol=0)
    torch.testing.assert_close(out.joints[:, :5], mesh.joints, atol=2e-6, rtol=0)
    torch.testing.assert_close(out.joints[:, 5:56], mesh.landmarks[:, 17:], atol=2e-6, rtol=0)
    torch.testing.assert_close(out.joints[:, 56:], mesh.landmarks[:, :17], atol=2e-6, rtol=0)


def test_smplx_loads_the_export_and_agrees(tmp_path):
    compare_with_smplx(tiny_head(lid_contacts=()), tmp_path / "tiny")


@pytest.mark.slow
def test_smplx_loads_anthro_and_agrees(tmp_path, head):
    compare_with_smplx(dataclasses.replace(head, lid_contacts=(), lid_closures=()), tmp_path)


def test_smplx_differs_from_anthro_at_its_lids_only_and_as_far_as_said(tmp_path, head):
    """Every expression at half its weight, mean identity."""
    import smplx

    folder = str(export_smplx(head, tmp_path / "out"))
    count = head.expression_count
    model = smplx.create(
        folder, "flame", num_betas=head.shape_count, num_expression_coeffs=count, batch_size=count
    )
    p = HeadParameters.zeros(head, count)._replace(expression=0.5 * torch.eye(count))
    with torch.no_grad():
        far = (model(expression=p.expression).vertices - HeadDecoder(head)(p).vertices).norm(dim=2)
    lids = np.concatenate([contact.vertices for contact in head.lid_contacts])
    others = np.setdiff1d(np.arange(head.vertices_count), lids)
    assert far[:, others].max() < 2e-6
    assert 1e-3 < far.max() <= lid_contact_offset(head) + 2e-6
    assert lid_contact_offset(dataclasses.replace(head, lid_contacts=())) == 0


def test_smplx_has_room_for_300_and_100_modes_only(tmp_path):
    head = tiny_head()
    wide = dataclasses.replace(head, shape_basis=np.zeros((24, 3, 301), np.float32))
    with pytest.raises(UserError, match="at most 300 shape"):
        export_smplx(wide, tmp_path / "out")
    assert not (tmp_path / "out").exists()
