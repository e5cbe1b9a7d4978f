"""Anthro, from named control points to a finished HeadModel, in about two seconds."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from flame_assets.anthro.atlas.texture import texture
from flame_assets.anthro.expression.lid_closure import lid_closure
from flame_assets.anthro.expression.modes import expression_modes
from flame_assets.anthro.identity.modes import identity_modes
from flame_assets.anthro.rig import jaw, skinning
from flame_assets.anthro.surface.control_set import ControlSet, control_set
from flame_assets.anthro.surface.head_surface import Surface, build_surface
from flame_assets.anthro.surface.landmarks import landmarks
from flame_assets.anthro.surface.regions import colours, regions
from flame_assets.anthro.surface.template import half_template
from flame_assets.arkit import EXPRESSIONS
from flame_assets.model.head import HeadModel, LidClosure, LidContact

VERSION = "2.3"  # raised with the geometry: saved parameters belong to one version
LICENCE = (
    "Apache-2.0; proportions and identity statistics derived from ICT-FaceKit, MIT License, "
    "Copyright (c) 2020 USC Institute for Creative Technologies"
)
_METRES = 1e-3


def _lid_contacts(surface: Surface) -> tuple[LidContact, ...]:
    contacts = []
    for joint, sign in ((3, 1.0), (4, -1.0)):
        ids = np.flatnonzero((surface.contact > 0) & (sign * surface.vertices[:, 0] > 0))
        radius = (surface.contact[ids] * _METRES).astype(np.float32)
        contacts.append(LidContact(joint=joint, vertices=ids.astype(np.int32), radius=radius))
    return tuple(contacts)


def _lid_closures(
    controls: ControlSet, surface: Surface, motion: Float[ndarray, "v 3 k"]
) -> tuple[LidClosure, ...]:
    closures = []
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        column = motion.shape[2] - len(EXPRESSIONS) + EXPRESSIONS.index(name)
        ids, basis = lid_closure(controls, surface, motion, column, right=name.endswith("Right"))
        metres = (basis * _METRES).astype(np.float32)
        closures.append(LidClosure(expression=name, vertices=ids.astype(np.int32), basis=metres))
    return tuple(closures)


def build() -> HeadModel:
    """The Anthro head: deterministic, numpy and scipy only; see the package's docstring."""
    controls = control_set()
    template = half_template(controls)
    weights = jaw.jaw_weights(controls)
    surface = build_surface(controls, template, weights)
    # identity modes, landmarks and atlas do not depend on the fine relief
    smooth = replace(surface, vertices=surface.smooth)
    identity = identity_modes(controls, smooth)
    shape_basis = np.einsum("vc,cik->vik", surface.identity_basis, identity.controls, optimize=True)
    shape_basis += surface.ear_modes @ identity.ears
    moves = expression_modes(controls, surface, weights)
    marks = landmarks(smooth, template)
    atlas = texture(smooth, template)

    def metres(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array * _METRES, dtype=np.float32)

    def single(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array, dtype=np.float32)

    def ids(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array, dtype=np.int32)

    return HeadModel(
        name="anthro",
        version=VERSION,
        licence=LICENCE,
        template=metres(surface.vertices),
        triangles=ids(surface.triangles),
        shape_basis=metres(shape_basis),
        expression_basis=metres(moves),
        pose_basis=np.zeros((len(surface.vertices), 3, 36), np.float32),
        joint_regressor=single(skinning.joint_regressor(surface)),
        skinning_weights=single(skinning.skinning_weights(surface)),
        landmark_triangles=ids(marks.inner_triangles),
        landmark_barycentric=single(marks.inner_barycentric),
        contour_triangles=ids(marks.contour_triangles),
        contour_barycentric=single(marks.contour_barycentric),
        static_contour_triangles=ids(marks.contour_triangles[0]),
        static_contour_barycentric=single(marks.contour_barycentric[0]),
        expression_convention="arkit",
        expression_names=EXPRESSIONS,
        expression_bounds=(0.0, 1.0),
        regions=regions(surface, template),
        colours=single(colours(surface, template)),
        uv=single(atlas.uv),
        uv_triangles=ids(atlas.triangles),
        lid_contacts=_lid_contacts(surface),
        lid_closures=_lid_closures(controls, surface, np.concatenate([shape_basis, moves], 2)),
    )
