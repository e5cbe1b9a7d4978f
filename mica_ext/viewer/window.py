"""A window of Open3D (extra `view`) with a head in it."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from eval_now.geometry.normals import vertex_normals
from mica_ext.errors import UserError
from mica_ext.export.surface import Surface


def show_window(surface: Surface, title: str) -> None:
    """Show a surface until its window is closed.

    Raises:
        UserError: Open3D cannot be imported, or cannot open a window.
    """
    open3d = _open3d()
    mesh = window_mesh(surface)
    visualizer = open3d.visualization.Visualizer()
    if not visualizer.create_window(window_name=title, width=900, height=900):
        raise UserError("Open3D could not open a window; leave `window` out for a page")
    visualizer.add_geometry(mesh)
    visualizer.get_render_option().mesh_show_back_face = True
    view = visualizer.get_view_control()
    view.set_front([0.0, 0.0, 1.0])
    view.set_up([0.0, 1.0, 0.0])
    view.set_lookat(mesh.get_center())
    visualizer.run()
    visualizer.destroy_window()


def window_mesh(surface: Surface) -> Any:
    """The surface as an `open3d.geometry.TriangleMesh` with normals, and colours or a texture."""
    open3d = _open3d()
    vector, triples = open3d.utility.Vector3dVector, open3d.utility.Vector3iVector
    mesh = open3d.geometry.TriangleMesh(
        vector(surface.vertices.astype(np.float64)), triples(surface.triangles.copy())
    )
    normals = vertex_normals(surface.vertices, surface.triangles)
    mesh.vertex_normals = vector(normals)
    if surface.texture is not None and surface.uv is not None and surface.uv_triangles is not None:
        mesh.triangle_uvs = open3d.utility.Vector2dVector(_corner_uv(surface))
        mesh.textures = [open3d.geometry.Image(_upright(surface.texture))]
        mesh.triangle_material_ids = open3d.utility.IntVector(
            np.zeros(len(surface.triangles), np.int32)
        )
    elif surface.colours is not None:
        mesh.vertex_colors = vector(surface.colours.astype(np.float64))
    return mesh


def _corner_uv(surface: Surface) -> Float[np.ndarray, "corners 2"]:
    assert surface.uv is not None
    assert surface.uv_triangles is not None
    return surface.uv[surface.uv_triangles.ravel()].astype(np.float64)


def _upright(texture: UInt8[np.ndarray, "size size 3"]) -> UInt8[np.ndarray, "size size 3"]:
    """Rows as Open3D wants them: from the bottom, where v is 0."""
    return np.ascontiguousarray(texture[::-1])


def _open3d() -> Any:
    try:
        import open3d  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"Open3D cannot be imported ({error}): pip install 'pacofr[view]'"
        ) from error
    return open3d
