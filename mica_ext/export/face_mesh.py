"""The mesh of one face as a file, with expressions as morph targets where the format has them."""

from pathlib import Path

from flame_assets.model.head_module import HeadDecoder, HeadMesh
from mica_ext.export.blendshapes import NamedTargets, morphs
from mica_ext.export.mesh_files import Unit, check_format, unit_of, write_surface
from mica_ext.export.surface import surface_of
from mica_ext.files import write_bytes_atomic
from mica_ext.models.pose import Pose, in_pose
from mica_ext.models.types import FaceParameters
from mica_ext.render.textured import TexturedMesh


def save_mesh(
    path: Path,
    decoder: HeadDecoder,
    parameters: FaceParameters,
    pose: Pose,
    mesh: HeadMesh,
    unit: Unit | None = None,
    *,
    texture: TexturedMesh | None = None,
    solid: bool = False,
    named: NamedTargets | None = None,
) -> None:
    """Write `mesh`, a batch of one, in the format of the suffix; mm unless `unit` says else.

    A GLB holds the face at rest, a morph target per expression, the weights that make the mesh, and
    the head's joints.

    Args:
        path: of the file.
        decoder: of the head.
        parameters: of the face, a batch of one.
        pose: of `mesh`.
        mesh: to write, for all formats but GLB.
        unit: of the file.
        texture: of the head; OBJ and PLY have it in a file beside them.
        solid: close the mesh for printing, without texture.
        named: morph targets of a GLB in place of the head's own expressions.

    Raises:
        UserError: for an unknown suffix, a unit that the format excludes, a head that cannot be
            closed, or a full disk.
    """
    check_format(path, unit)
    head = decoder.head
    picture = None if texture is None else texture.picture
    if path.suffix.lower() == ".glb":
        from mica_ext.export.gltf.glb import glb_bytes

        rest, targets, skeleton = morphs(decoder, in_pose(parameters.head, pose), named)
        note = f"made with the head {head.name} {head.version}: {head.licence}"
        note += f"; {named.note}" if named else ""
        surface = surface_of(head, rest.numpy(), picture)
        write_bytes_atomic(path, glb_bytes(surface, targets, note, skeleton))
        return
    vertices = mesh.vertices[0].detach().cpu().numpy()
    if solid:
        from mica_ext.export.solid import solid_surface

        surface = solid_surface(head, vertices)
    else:
        surface = surface_of(head, vertices, picture)
    comments = [f"head: {head.name} {head.version} ({head.licence})", f"pose: {pose}"]
    write_surface(path, surface, unit_of(path, unit), comments)
