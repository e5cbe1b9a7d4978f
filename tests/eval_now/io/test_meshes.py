"""Mesh files of eval_now as a whole: what is refused, and what other programs make of ours."""

import numpy as np
import pytest
import trimesh

from eval_now.errors import UserError
from eval_now.geometry.mesh import Mesh
from eval_now.io.landmarks import load_landmarks
from eval_now.io.meshes import load_mesh, load_vertices, save_obj, save_ply

TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1.25, 0, 0], [0, -2.5, 0], [0, 0, 3e-3]]),
    np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]),
)


def test_our_ply_and_obj_are_read_by_trimesh(tmp_path):
    for path, save in ((tmp_path / "a.ply", save_ply), (tmp_path / "a.obj", save_obj)):
        save(path, TETRAHEDRON)
        loaded = trimesh.load(path, process=False)
        np.testing.assert_allclose(loaded.vertices, TETRAHEDRON.vertices, atol=1e-6)
        np.testing.assert_array_equal(loaded.faces, TETRAHEDRON.triangles)


def test_meshes_without_surface_or_content_are_refused(tmp_path):
    cases = {
        "cloud.obj": "v 0 0 0\nv 1 1 1\n",
        "empty.obj": "",
        "words.obj": "hello\n",
        "one.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "a.stl": "solid",
    }
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            load_mesh(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read"):
        load_mesh(tmp_path / "absent.ply")
    np.testing.assert_array_equal(load_vertices(tmp_path / "cloud.obj"), [[0, 0, 0], [1, 1, 1]])


def test_a_byte_order_mark_hides_no_first_line(tmp_path):
    save_obj(tmp_path / "a.obj", TETRAHEDRON)
    text = (tmp_path / "a.obj").read_text()
    (tmp_path / "marked.obj").write_text(text, encoding="utf-8-sig")
    np.testing.assert_array_equal(load_mesh(tmp_path / "marked.obj").vertices, TETRAHEDRON.vertices)
    (tmp_path / "points.txt").write_text("\n".join(f"1 2 {k}" for k in range(7)), "utf-8-sig")
    assert load_landmarks(tmp_path / "points.txt")[0].tolist() == [1, 2, 0]
    (tmp_path / "same.txt").write_text("1 2 3\n" * 7)
    with pytest.raises(UserError, match=r"same\.txt: all seven landmarks are the same point"):
        load_landmarks(tmp_path / "same.txt")
