"""One face of one photo, reconstructed: its parameters and meshes, what was seen, and its files."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flame_assets.model.fingerprint import Fingerprint
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadMesh
from mica_ext.conversion.named_targets import arkit_targets, targets_for_file
from mica_ext.export.face_json import Provenance, SavedFace
from mica_ext.export.face_mesh import save_mesh
from mica_ext.export.mesh_files import Unit, to_trimesh
from mica_ext.export.surface import Surface, surface_of
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.quality import FaceSignals, Quality
from mica_ext.models.types import FaceParameters
from pacofr.faces.detect import Face

if TYPE_CHECKING:
    from trimesh import Trimesh

    from mica_ext.render.overlay import OverlayStyle
    from mica_ext.render.rasterizers import Rasterizer
    from mica_ext.render.textured import TexturedMesh

RgbImage = UInt8[np.ndarray, "H W 3"]


class Reconstruction(NamedTuple):
    """One face of one photo."""

    parameters: FaceParameters
    """A batch of one."""
    mesh: HeadMesh
    """A batch of one, in `pose` [m]."""
    pose: Pose
    decoder: HeadDecoder
    """Turns head parameters into meshes."""
    head_fingerprint: Fingerprint
    points_px: Float[Tensor, "478 2"]
    """Detected in the photo [px]; see `pacofr.faces.face_mesh.topology`."""
    landmarks_px: Float[Tensor, "68 2"]
    """Those nearest to the iBUG landmarks, in their order."""
    face: Face
    """Detected box, score and five points."""
    faces_found: int
    """In the photo."""
    smallest_searched: float
    """Smallest face that was looked for in the photo [px]."""
    photo_size: tuple[int, int]
    """Width, height [px]."""
    signals: FaceSignals
    """How well the face was seen."""
    quality: Quality
    """Whether the result can be used, and why not."""
    provenance: Provenance
    rasterizer: "Rasterizer"
    """Draws the overlay."""

    @property
    def head(self) -> HeadModel:
        """The head model that the parameters belong to."""
        return self.decoder.head

    @property
    def surface(self) -> Surface:
        """The mesh as arrays [m]."""
        return surface_of(self.head, self.mesh.vertices[0].numpy())

    def trimesh(self, unit: Unit = "m") -> "Trimesh":
        """The mesh as a `trimesh.Trimesh` with vertex colours, vertices in the head's order."""
        return to_trimesh(self.surface, unit)

    @torch.no_grad()
    def texture(self, image: RgbImage) -> "TexturedMesh":
        """The photo that it was made from, unwrapped into the head's texture.

        Raises:
            UserError: the head has no texture coordinates.
        """
        from mica_ext.render.texture.bake import bake_texture

        posed = self.decoder(self.parameters.head).vertices[0].numpy()
        return bake_texture(image, self.head, self.parameters.camera, posed)

    @torch.no_grad()
    def overlay(
        self,
        image: RgbImage,
        style: "OverlayStyle" = "clay",
        *,
        texture: "TexturedMesh | None" = None,
        points: bool = False,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The photo that it was made from, the posed head over it, and the mesh from three sides.

        The style "textured" shows `texture`, by default the photo's; `points` marks the 478
        detected points on the photo.
        """
        from mica_ext.render.overlay import overlay_picture

        if style == "textured" and texture is None:
            texture = self.texture(image)
        return overlay_picture(
            image,
            head=self.head,
            camera=self.parameters.camera,
            box=self.face.box,
            posed_vertices=self.decoder(self.parameters.head).vertices[0].numpy(),
            vertices=self.mesh.vertices[0].numpy(),
            style=style,
            texture=texture,
            points_px=self.points_px.numpy() if points else None,
            rasterizer=self.rasterizer,
        )

    def save(
        self,
        path: str | Path,
        unit: Unit | None = None,
        *,
        texture: "TexturedMesh | None" = None,
        solid: bool = False,
    ) -> None:
        """Write the mesh in the format of the suffix; mm unless `unit` says else, GLB in metres.

        Args:
            path: of the file.
            unit: of the file.
            texture: of `texture`; OBJ and PLY have it in a file beside them, GLB inside.
            solid: close neck, mouth and lids, so that the mesh is watertight, for printing.

        Raises:
            UserError: for an unknown suffix, a unit that the format excludes, or a full disk.
        """
        named = targets_for_file(Path(path), self.decoder, in_pose(self.parameters.head, self.pose))
        save_mesh(
            Path(path),
            self.decoder,
            self.parameters,
            self.pose,
            self.mesh,
            unit,
            texture=texture,
            solid=solid,
            named=named,
        )

    def save_view(
        self,
        path: str | Path,
        image: RgbImage,
        title: str,
        *,
        texture: "TexturedMesh | None" = None,
    ) -> None:
        """Write an HTML page that shows the head, its expressions to move, and the photo.

        Args:
            path: of the page.
            image: the photo that it was made from.
            title: of the page.
            texture: of `texture`.

        Raises:
            UserError: the page cannot be written.
        """
        from mica_ext.files import write_bytes_atomic
        from mica_ext.viewer.face_page import face_page, face_scene, photo_view, provenance_notes

        x0, y0, x1, y1 = self.face.box.tolist()
        straight = in_pose(self.parameters.head, "expressive")
        scene = face_scene(
            self.decoder,
            self.parameters,
            title=title,
            pose=self.pose,
            notes=provenance_notes(self.provenance, self.quality),
            named=arkit_targets(self.decoder, straight, Path(path).name),
            texture=texture,
            photo=photo_view(image, self.parameters, (x0, y0, x1, y1)),
        )
        write_bytes_atomic(Path(path), face_page(scene))

    def to_saved_face(self, photo_name: str) -> SavedFace:
        """The content of the parameter file."""
        x0, y0, x1, y1 = (float(value) for value in self.face.box)
        return SavedFace(
            self.parameters,
            self.pose,
            self.provenance,
            self.head_fingerprint,
            photo_name,
            self.photo_size,
            (x0, y0, x1, y1),
            self.quality,
        )
