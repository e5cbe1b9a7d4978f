"""The mesh of one face as a file, with expressions as morph targets where the format has them."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadMesh
from mica_ext.export.mesh_files import Surface, Unit, check_format, unit_of, write_surface
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.types import FaceParameters


def surface_of(head: HeadModel, vertices: Float[Tensor, "V 3"]) -> Surface:
    """Vertices [m] with the head's triangles, colours and texture coordinates."""
    points = vertices.detach().cpu().numpy()
    return Surface(points, head.triangles, head.colours, head.uv, head.uv_triangles)


def save_mesh(
    path: Path,
    decoder: HeadDecoder,
    parameters: FaceParameters,
    pose: Pose,
    mesh: HeadMesh,
    unit: Unit | None = None,
) -> None:
    """Write `mesh`, a batch of one, in the format of the suffix; mm unless `unit` says else.

    A GLB holds the face at rest, a morph target per expression and the weights that make the mesh.

    Raises:
        UserError: for an unknown suffix, a unit that the format excludes, or a full disk.
    """
    check_format(path, unit)
    head = decoder.head
    if path.suffix.lower() == ".glb":
        from mica_ext.export.blendshapes import morphs
        from mica_ext.export.gltf import glb_bytes

        rest, targets = morphs(decoder, in_pose(parameters.head, pose))
        note = f"made with the head {head.name} {head.version}: {head.licence}"
        write_bytes_atomic(path, glb_bytes(surface_of(head, rest), targets, note))
        return
    surface = surface_of(head, mesh.vertices[0])
    comments = [f"head: {head.name} {head.version} ({head.licence})", f"pose: {pose}"]
    write_surface(path, surface, unit_of(path, unit), comments)
