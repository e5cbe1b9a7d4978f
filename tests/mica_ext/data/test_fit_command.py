"""`mica-ext fit` on tiny trees of the data sets' layouts: results, resume, and bad files."""

import dataclasses
import json

import numpy as np
import pytest
from helpers.command_output import one_line
from helpers.registered_heads import sequence, smooth_head
from helpers.registration_trees import (
    COMA_EXPRESSIONS,
    COMA_SUBJECTS,
    FAMOS_SUBJECTS,
    coma_tree,
    famos_tree,
    write_mesh,
)
from safetensors.numpy import load_file, save_file

from flame_assets.model.head_io import save_head
from mica_ext.cli import main
from mica_ext.data.registrations.fit_files import load_subject, subject_files
from mica_ext.data.registrations.mesh_reader import RefusedMesh, RegistrationReader
from mica_ext.errors import UserError


@pytest.fixture(scope="module")
def head():
    return smooth_head()


@pytest.fixture(scope="module")
def head_folder(head, tmp_path_factory):
    return save_head(head, tmp_path_factory.mktemp("head") / "head")


@pytest.fixture
def fit(head_folder, tmp_path, capsys):
    """Run `mica-ext fit`: exit code, standard output and error."""

    def run(source, root, *flags, out="fits"):
        common = ["--head", str(head_folder), "--out", str(tmp_path / out), "--threads", "2"]
        code = main(["fit", source, str(root), *common, *flags])
        return code, *capsys.readouterr()

    return run


def test_coma(fit, head, tmp_path):
    made = coma_tree(tmp_path / "data", head)
    code, out, _ = fit("coma", tmp_path / "data")
    assert code == 0
    residuals = json.loads((tmp_path / "fits/residuals.json").read_text())
    assert residuals["total"]["frames"] == 16
    assert residuals["total"]["largest"] < 0.01
    assert list(residuals["expressions"]) == list(COMA_EXPRESSIONS)
    assert list(residuals["subjects_by_expression"]) == list(COMA_SUBJECTS)
    assert residuals["skipped"] == {}
    assert sum(line.startswith(COMA_SUBJECTS) for line in out.splitlines()) == 2
    found = load_subject(tmp_path / "fits", COMA_SUBJECTS[1], head)
    truth = made[COMA_SUBJECTS[1]].parameters
    np.testing.assert_allclose(found.shape, truth.shape[0], atol=0.01)
    np.testing.assert_allclose(found.fits.jaw_pose, truth.jaw_pose, atol=1e-3)
    assert found.about.frames[0] == ("bareteeth", "000001")


def test_famos_frames_of_a_published_list(fit, head, tmp_path):
    famos_tree(tmp_path, head)
    assert fit("famos", tmp_path, "--split", "train")[0] == 0
    found = load_subject(tmp_path / "fits", FAMOS_SUBJECTS[0], head)
    assert [frame for _, frame in found.about.frames] == ["000001", "000003"] * 2
    assert not subject_files(tmp_path / "fits", FAMOS_SUBJECTS[1])[1].exists()
    code, _, err = fit("famos", tmp_path, "--split", "val", out="other")
    assert code == 2
    assert "eight_subj__all_seq_frames_per_seq_5_val.json" in one_line(err)


def test_a_run_goes_on_and_refuses_other_settings(fit, head, tmp_path):
    coma_tree(tmp_path / "data", head, frames=2)
    assert fit("coma", tmp_path / "data")[0] == 0
    files = subject_files(tmp_path / "fits", COMA_SUBJECTS[0])
    kept = subject_files(tmp_path / "fits", COMA_SUBJECTS[1])[0]
    before = (files[0].read_bytes(), kept.stat().st_mtime_ns)
    files[1].unlink()  # as if stopped before the subject was done
    assert fit("coma", tmp_path / "data")[0] == 0
    assert (files[0].read_bytes(), kept.stat().st_mtime_ns) == before
    code, _, err = fit("coma", tmp_path / "data", "--every", "2")
    assert code == 2
    assert "other settings (every" in one_line(err)


def test_bad_files_are_counted_and_cost_nothing_else(fit, head, tmp_path):
    """Another topology, a gap in the numbers, another unit, damage, a stranger's mesh."""
    made = coma_tree(tmp_path / "data", head, frames=6)[COMA_SUBJECTS[0]]
    folder = tmp_path / "data/COMA_data" / COMA_SUBJECTS[0] / "bareteeth"
    names = [folder / f"bareteeth.{number:06d}.ply" for number in range(1, 7)]
    coarse = smooth_head(2)
    write_mesh(names[0], coarse, sequence(coarse, 1).meshes[0])
    names[1].unlink()
    write_mesh(names[2], head, made.meshes[2], scale=1000)
    names[3].write_bytes(names[3].read_bytes()[:200])
    shuffled = np.random.default_rng(0).permutation(made.meshes[4])
    write_mesh(names[4], head, shuffled)
    flipped = dataclasses.replace(head, triangles=np.ascontiguousarray(head.triangles[:, ::-1]))
    write_mesh(folder.parent / "mouth_open/mouth_open.000003.ply", flipped, made.meshes[8])
    (folder / "notes.ply").write_text("no mesh")
    code, out, _ = fit("coma", tmp_path / "data")
    assert code == 0
    skipped = json.loads((tmp_path / "fits/residuals.json").read_text())["skipped"]
    assert {reason: each["count"] for reason, each in skipped.items()} == {
        "missing frame": 1,
        "file of another name": 1,
        "mesh of another topology": 2,
        "mesh in another unit": 1,
        "unreadable mesh": 1,
        "mesh that no head fits": 1,
    }
    assert (
        "expected a mesh of smooth, 642 vertices, got 162"
        in skipped["mesh of another topology"]["example"]
    )
    assert "give --unit mm" in skipped["mesh in another unit"]["example"]
    assert sum(line.startswith("left out: ") for line in out.splitlines()) == 6
    found = load_subject(tmp_path / "fits", COMA_SUBJECTS[0], head)
    assert found.about.frames[0] == ("bareteeth", "000006")
    assert len(found.about.frames) == 6


def test_a_whole_set_in_another_unit_is_one_line(fit, head, tmp_path):
    coma_tree(tmp_path / "data", head, frames=2, scale=1000)
    code, _, err = fit("coma", tmp_path / "data")
    assert code == 2
    assert "give --unit mm" in err.splitlines()[-1]
    assert fit("coma", tmp_path / "data", "--unit", "mm")[0] == 0
    residuals = json.loads((tmp_path / "fits/residuals.json").read_text())
    assert residuals["total"]["largest"] < 0.01


def test_any_folder_of_meshes_and_of_landmarks(fit, head, tmp_path):
    made = sequence(head, 3)
    write_mesh(tmp_path / "data/anna/a.ply", head, made.meshes[0])
    write_mesh(tmp_path / "data/anna/smiles/b.ply", head, made.meshes[1])
    write_mesh(tmp_path / "data/single.ply", head, made.meshes[2])
    assert fit("meshes", tmp_path / "data")[0] == 0
    assert load_subject(tmp_path / "fits", "anna", head).about.frames == (
        (".", "a"),
        ("smiles", "b"),
    )
    assert len(load_subject(tmp_path / "fits", "single", head).about.frames) == 1
    points = np.zeros((68, 3))
    points[:] = 0.001 * np.arange(204).reshape(68, 3)
    (tmp_path / "points").mkdir()
    corners = head.triangles[
        np.concatenate([head.static_contour_triangles, head.landmark_triangles])
    ]
    points = made.meshes[0][corners].mean(1)
    points[:17] = np.nan
    np.save(tmp_path / "points/one.npy", points)
    np.save(tmp_path / "points/two.npy", points[:51])
    np.save(tmp_path / "points/three.npy", points + 1j)
    code, out, _ = fit("landmarks", tmp_path / "points", out="landmark-fits")
    assert code == 0
    assert "2 x unreadable landmarks" in out
    found = load_subject(tmp_path / "landmark-fits", "one", head)
    assert found.fits.mean_distance_mm[0] < 2
    tensors, _ = subject_files(tmp_path / "landmark-fits", "one")
    whole = load_file(tensors)
    for changed in (np.full_like(whole["shape"], np.nan), whole["shape"].astype(np.float16)):
        save_file(whole | {"shape": changed}, tensors)
        with pytest.raises(UserError, match="expected finite numbers of 32 bits; delete it"):
            load_subject(tmp_path / "landmark-fits", "one", head)


@pytest.mark.parametrize("source", ["coma", "famos", "meshes", "landmarks"])
def test_empty_folders(fit, tmp_path, source):
    (tmp_path / "data").mkdir()
    code, _, err = fit(source, tmp_path / "data")
    assert code == 2
    assert "expected " in one_line(err)
    assert not (tmp_path / "fits").exists()


def test_the_same_triangles_in_another_order_are_the_same_topology(head, tmp_path):
    rng = np.random.default_rng(1)
    turned = np.roll(head.triangles[rng.permutation(len(head.triangles))], 1, axis=1)
    path = tmp_path / "mesh.ply"
    write_mesh(path, dataclasses.replace(head, triangles=turned), head.template)
    mesh = RegistrationReader(head, "m")(path)
    assert not isinstance(mesh, RefusedMesh)
    np.testing.assert_allclose(mesh, head.template, atol=1e-7)
