"""Every data set in its authors' layout, its splits and subsets; and one line for what is wrong."""

import shutil

import cv2
import numpy as np
import pytest
from helpers.mutations import damaged_bytes
from helpers.task_trees import (
    csv_line,
    face_picture,
    face_points,
    write_300w,
    write_aflw,
    write_celebamask_hq,
    write_csv,
    write_lapa,
    write_picture,
    write_pts_tree,
    write_wflw,
)

from pacofr.errors import UserError
from pacofr.faces.landmarks68 import read_pts
from pacofr.tasks.alignment.csv_lists import read_landmark_csv
from pacofr.tasks.alignment.layouts import ALIGNMENT_SETS, load_alignment_split
from pacofr.tasks.parsing.classes import CELEBAMASK_HQ, CELEBAMASK_HQ_FILES, PALETTE, PARSING_SETS
from pacofr.tasks.parsing.labels import read_label_file, read_labels, read_photo_and_labels
from pacofr.tasks.parsing.layouts import load_parsing_split
from pacofr.tasks.records import StoredFile, read_photo


def test_300w_by_its_folders(tmp_path):
    root = write_300w(tmp_path)
    train = load_alignment_split("300w", root, "train")
    test = load_alignment_split("300w", root, "test")
    assert [s.name for s in train.samples] == ["afw/face0", "trainset/face0", "trainset/face0"]
    assert {name: len(part) for name, part in test.subsets.items()} == {
        "full": 4,
        "common": 2,
        "challenge": 2,
    }
    points = read_pts(root / "ibug/face1.pts")
    last = test.samples[test.subsets["challenge"][-1]]
    np.testing.assert_array_equal(last.points, points)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    np.testing.assert_allclose((last.box[:2] + last.box[2:]) / 2, middle)
    assert last.box[2] - last.box[0] == pytest.approx(np.ptp(points, axis=0).max())
    assert train.other_counts == ["3 in train, published are 3148"]


def test_300w_by_the_lists_of_the_protocol(tmp_path):
    rng = np.random.default_rng(1)
    names = {"train": "afw/a.jpg", "valid_common": "lfpw/testset/b.png"}
    names["valid_challenge"] = "ibug/image_092_01.jpg"
    points = {}
    for part, name in names.items():
        points[part] = face_points(rng)
        stored = name.replace("092_01", "092 _01")
        write_picture(tmp_path / "images" / stored, face_picture(points[part]))
        line = csv_line(name, points[part], shift=2.0)
        write_csv(tmp_path / f"face_landmarks_300w_{part}.csv", [line])
    test = load_alignment_split("300w", tmp_path, "test")
    assert dict(test.subsets) == {"full": (0, 1), "common": (0,), "challenge": (1,)}
    np.testing.assert_allclose(test.samples[1].points, points["valid_challenge"], atol=1e-5)
    box = test.samples[0].box
    assert box[2] - box[0] == pytest.approx(np.ptp(points["valid_common"], axis=0).max(), abs=1e-3)


def test_wflw_and_its_attributes(tmp_path):
    root = write_wflw(tmp_path)
    assert len(load_alignment_split("wflw", root, "train").samples) == 2
    test = load_alignment_split("wflw", root, "test")
    assert test.subsets["full"] == (0, 1, 2)
    assert test.subsets["pose"] == (0, 1)
    assert test.subsets["blur"] == (1,)
    assert test.subsets["expression"] == ()
    assert test.samples[0].points.shape == (98, 2)
    read_photo(test.samples[0])


def test_wflw_by_lists_finds_each_face_of_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    first, second = face_points(rng, 98), face_points(rng, 98)
    write_picture(tmp_path / "WFLW_images/a.jpg", face_picture(first))
    lines = [csv_line("a.jpg", first), csv_line("a.jpg", second)]
    write_csv(tmp_path / "face_landmarks_wflw_test.csv", lines)
    for subset in ("largepose", "expression", "illumination", "makeup", "occlusion", "blur"):
        listed = lines[1:] if subset == "makeup" else []
        write_csv(tmp_path / f"face_landmarks_wflw_test_{subset}.csv", listed)
    test = load_alignment_split("wflw", tmp_path, "test")
    assert (test.subsets["make-up"], test.subsets["pose"]) == ((1,), ())


def test_aflw_and_its_frontal_faces(tmp_path):
    root = write_aflw(tmp_path)
    test = load_alignment_split("aflw-19", root, "test")
    assert dict(test.subsets) == {"full": (0, 1), "frontal": (0,)}
    points = face_points(np.random.default_rng(0), 19)
    np.testing.assert_allclose(test.samples[0].points, points)
    np.testing.assert_allclose(test.samples[0].box, [*points.min(axis=0), *points.max(axis=0)])
    assert test.other_counts[0] == "2 in full, published are 4386"


def test_a_folder_of_photos_with_landmarks(tmp_path):
    write_pts_tree(tmp_path / "trainset", 3)
    write_pts_tree(tmp_path / "testset", 2)
    assert len(load_alignment_split("pts", tmp_path, "train").samples) == 3
    test = load_alignment_split("pts", tmp_path / "testset", "test")
    assert dict(test.subsets) == {"full": (0, 1)}
    assert test.other_counts == []


def test_lapa(tmp_path):
    root = write_lapa(tmp_path)
    split = load_parsing_split("lapa", root, "val")
    photo, labels = read_photo_and_labels(split.samples[1], 11)
    assert photo.shape == (64, 64, 3)
    np.testing.assert_array_equal(labels, cv2.imread(str(root / "val/labels/1.png"), 0))
    assert split.samples[0].points.shape == (5, 2)
    assert split.other_counts == ["3 in val, published are 2000"]


def test_celebamask_hq_merges_in_farls_order(tmp_path):
    root = write_celebamask_hq(tmp_path)
    counts = {n: len(load_parsing_split("celebamask-hq", root, n).samples) for n in PARTS}
    assert counts == {"train": 2, "val": 1, "test": 1}
    sample = load_parsing_split("celebamask-hq", root, "test").samples[0]
    assert sample.name == "3"
    photo, labels = read_photo_and_labels(sample, 19)
    assert photo.shape == (64, 64, 3)  # 128 px, brought to the labels' size
    ear, cloth = CELEBAMASK_HQ.index("left ear"), CELEBAMASK_HQ_FILES.index("cloth")
    assert (labels[60:] == ear).all()
    assert (labels[2 * cloth : 2 * cloth + 2] == cloth + 1).all()
    skin_row = 2 * CELEBAMASK_HQ_FILES.index("nose")
    assert (labels[skin_row] == CELEBAMASK_HQ.index("nose")).all()


PARTS = ("train", "val", "test")


def test_every_class_has_a_name_and_a_colour():
    assert [len(s.classes) for s in PARSING_SETS.values()] == [11, 19, 13]
    assert len(set(PALETTE)) == len(PALETTE) == 19
    assert {name: about.points for name, about in ALIGNMENT_SETS.items()} == {
        "300w": 68,
        "aflw-19": 19,
        "wflw": 98,
        "pts": 68,
    }


def damage(root, what):
    """Damage one file of a tree; the loader and reader of its split."""
    match what:
        case "photo without landmarks":
            (root / "pts/trainset/face1.pts").unlink()
        case "landmarks without photo":
            (root / "pts/trainset/face1.jpg").unlink()
        case "wrong number of points":
            path = root / "pts/trainset/face1.pts"
            path.write_text("version: 1\nn_points: 2\n{\n1 2\n3 4\n}\n")
        case "points far outside":
            path = root / "pts/trainset/face1.pts"
            points = read_pts(path)
            points[7] = 5000.0
            path.write_text("{" + " ".join(map(str, points.ravel())) + "}")
        case "a list that names no picture":
            (root / "wflw/WFLW_images/0--Parade/train_1.jpg").unlink()
        case "a list of other numbers":
            path = next((root / "wflw").rglob("*attr_train.txt"))
            path.write_text(path.read_text().replace(" ", " x ", 1))
        case "a name that leads outside":
            path = next((root / "wflw").rglob("*attr_train.txt"))
            path.write_text(path.read_text().replace("0--Parade", "../../../etc"))
        case "no MATLAB file":
            (root / "aflw").mkdir()
            (root / "aflw/AFLWinfo_release.mat").write_bytes(b"MATLAB 5.0 no" * 40)
        case "a label file that is missing":
            (root / "lapa/train/labels/1.png").unlink()
        case "unknown classes":
            path = str(root / "lapa/train/labels/1.png")
            labels = cv2.imread(path, 0)
            labels[0, 0] = 23
            cv2.imwrite(path, labels)
        case "labels of another size":
            path = str(root / "lapa/train/labels/1.png")
            cv2.imwrite(path, cv2.imread(path, 0)[:40])
        case "labels in colour":
            path = str(root / "lapa/train/labels/1.png")
            cv2.imwrite(path, cv2.imread(path, 1))
        case "labels that are no picture":
            (root / "lapa/train/labels/1.png").write_text("no picture")
        case "other landmarks":
            (root / "lapa/train/landmarks/1.txt").write_text("68\n1 2\n")
        case "masks of two sizes":
            path = str(root / "celeba/CelebAMask-HQ-mask-anno/0/00001_hair.png")
            cv2.imwrite(path, cv2.imread(path)[:30])
        case "a face without masks":
            for path in (root / "celeba/CelebAMask-HQ-mask-anno/0").glob("00001_*"):
                path.unlink()
        case "a picture that is missing":
            (root / "celeba/CelebA-HQ-img/1.jpg").unlink()


def read_all(root, folder):
    """Read every sample of the trainset of a tree."""
    name = {"pts": "pts", "wflw": "wflw", "aflw": "aflw-19"}.get(folder)
    if name is not None:
        for sample in load_alignment_split(name, root / folder, "train").samples:
            read_photo(sample)
        return
    name = "lapa" if folder == "lapa" else "celebamask-hq"
    for sample in load_parsing_split(name, root / folder, "train").samples:
        read_photo_and_labels(sample, len(PARSING_SETS[name].classes))


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("trees")
    write_pts_tree(root / "pts/trainset")
    write_wflw(root / "wflw")
    write_lapa(root / "lapa")
    write_celebamask_hq(root / "celeba")
    return root


@pytest.mark.parametrize(
    ("what", "folder", "line"),
    [
        ("photo without landmarks", "pts", "face1.jpg: expected its landmarks in face1.pts"),
        ("landmarks without photo", "pts", "face1.pts: expected a photo of that name"),
        ("wrong number of points", "pts", "face1.pts: expected 68 points of finite numbers"),
        ("points far outside", "pts", "face1.jpg: expected landmarks in the picture of 64 x 64"),
        ("a list that names no picture", "wflw", "line 2: expected the picture"),
        ("a list of other numbers", "wflw", "line 1: expected 206 numbers, got other text"),
        ("a name that leads outside", "wflw", "expected a picture of the data set, got '../"),
        ("no MATLAB file", "aflw", "AFLWinfo_release.mat is no .mat file of version 5"),
        ("a label file that is missing", "lapa", "labels/1.png: expected an annotation"),
        ("unknown classes", "lapa", "labels/1.png: expected classes 0 to 10, found 23"),
        ("labels of another size", "lapa", "labels/1.png: expected labels of the picture's 64"),
        ("labels in colour", "lapa", "labels/1.png: expected class numbers in one channel"),
        ("labels that are no picture", "lapa", "labels/1.png: expected a PNG of labels"),
        ("other landmarks", "lapa", "1.txt: expected 106 landmarks, its first line says '68'"),
        ("masks of two sizes", "celeba", "00001_hair.png: expected a mask of 64 x 64 px"),
        ("a face without masks", "celeba", "expected masks of the face 1, found none"),
        ("a picture that is missing", "celeba", "1.jpg: expected a picture of the train split"),
    ],
)
def test_damaged_trees_are_one_line_with_the_file(what, folder, line, trees, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(trees, root)
    damage(root, what)
    with pytest.raises(UserError) as caught:
        read_all(root, folder)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


ANNOTATIONS = (
    ("pts", "trainset/face1.pts"),
    ("wflw", "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"),
    ("lapa", "train/landmarks/1.txt"),
    ("lapa", "train/labels/1.png"),
    ("celeba", "list_eval_partition.txt"),
    ("celeba", "CelebA-HQ-to-CelebA-mapping.txt"),
    ("celeba", "CelebAMask-HQ-mask-anno/0/00001_hair.png"),
)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("folder", "name"), ANNOTATIONS)
def test_damaged_annotations_are_read_or_refused(folder, name, trees, tmp_path):
    shutil.copytree(trees / folder, tmp_path / folder)
    path = tmp_path / folder / name
    lines = []
    for data in damaged_bytes(path.read_bytes(), 3, 40):
        path.write_bytes(data)
        try:
            read_all(tmp_path, folder)
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > 5
    assert all(len(line.splitlines()) == 1 for line in lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected 1 to 1000000 lines, got 0"),
        ("a b\n" * 1_000_001, "expected 1 to 1000000 lines"),
        ("1 " * 40_000, "expected lines of at most 65536 characters"),
    ],
)
def test_lists_have_bounds(text, line, tmp_path):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=line):
        read_landmark_csv(tmp_path / "list.csv", tmp_path, 68)


def test_large_label_maps_are_read_or_refused_without_noise(tmp_path, capfd, recwarn):
    from PIL import Image

    for side, line in (
        (9500, None),
        (11_500, "11500 x 11500 pixels"),
        (14_000, "120000000 pixels"),
    ):
        Image.new("P", (side, side)).save(tmp_path / "map.png")
        if line is None:
            assert read_label_file(StoredFile(tmp_path / "map.png"), mask=False).shape[0] == side
            continue
        with pytest.raises(UserError, match=line):
            read_label_file(StoredFile(tmp_path / "map.png"), mask=False)
    assert not recwarn
    assert capfd.readouterr().err == ""


def test_a_palettes_indices_are_the_classes(tmp_path):
    from PIL import Image

    from pacofr.tasks.predict import write_label_map

    root = write_lapa(tmp_path)
    path = root / "train/labels/1.png"
    labels = np.asarray(Image.open(path))
    write_label_map(path, labels)
    assert Image.open(path).mode == "P"
    sample = load_parsing_split("lapa", root, "train").samples[1]
    np.testing.assert_array_equal(read_labels(sample, 11), labels)
