"""The product on the benchmark: which face it takes, and the journey on an artificial data set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import mica_ext.now_predictor as evaluate
from eval_now.config import EvalConfig
from eval_now.data.boxes import Box
from eval_now.data.dataset import NowDataset
from eval_now.errors import UserError as BenchmarkError
from eval_now.io.meshes import load_mesh
from eval_now.predictions.fingerprints import same_fingerprint
from eval_now.predictions.predictors import NoFaceError, Photo, fingerprint_of, load_predictor
from eval_now.run import run
from flame_assets.store import home
from mica_ext.commands.photo_run.output_plan import EXAMPLE
from mica_ext.errors import UserError
from mica_ext.export.face_json import Source
from pacofr.faces.detect import Face, detect
from pacofr.images import load_image

UNLOADED = evaluate.Reconstructor.__new__(evaluate.Reconstructor)  # its networks are not reached


def face(*box: float) -> Face:
    return Face(np.array(box, np.float32), 0.9, np.zeros((5, 2), np.float32))


def test_the_box_chooses_among_faces():
    image = np.zeros((200, 300, 3), np.uint8)
    large, small = face(0, 0, 150, 150), face(200, 50, 260, 110)

    def find(box):
        return evaluate.find_face(lambda image: [large, small], image, box)

    assert find(Box(190, 40, 250, 100)) is small
    assert find(Box(10, 40, 120, 160)) is large
    assert find(None) is large
    assert find(Box(151, 160, 190, 190)) is None


def test_near_the_box_a_face_is_found_in_the_photo_s_pixels():
    """Of the portrait three times, the one that the box marks; and black is nobody's face."""
    portrait = load_image(EXAMPLE)[:300, 100:360]
    image = np.concatenate([portrait] * 3, 1)
    alone = detect(portrait)[0]
    moved = Box(*(alone.box + [270, 10, 250, -10]).tolist())
    seen = []

    def recorded(image):
        seen.append(image.shape)
        return detect(image)

    face = evaluate.find_face_near(recorded, image, moved)
    assert face is not None
    eyes = np.linalg.norm(alone.points[1] - alone.points[0])
    assert np.abs(face.points - alone.points - [260, 0]).max() < 0.06 * eyes
    side = 0.8 * (moved.right - moved.left + moved.bottom - moved.top)
    assert abs(seen[0][1] - side) <= 2
    assert evaluate.find_face_near(detect, np.zeros_like(image), moved) is None
    assert evaluate.find_face_near(detect, image, Box(2000, 10, 2100, 110)) is None


def test_a_box_stands_in_for_a_face_in_the_detectors_order():
    points = evaluate.frontal_face_in(Box(100, 200, 200, 320)).points
    assert points[:, 0].tolist() == pytest.approx([131, 169, 150, 135, 165])
    assert (np.diff(points[[0, 2, 3], 1]) > 0).all()


def test_a_photo_without_face_and_box_is_a_missing_prediction(tmp_path):
    from PIL import Image

    reconstructor = evaluate.Reconstructor.__new__(evaluate.Reconstructor)
    reconstructor.detect = detect
    Image.fromarray(np.zeros((100, 80, 3), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(NoFaceError, match="no face found"):
        evaluate.predict(reconstructor, Photo("s/c/a.jpg", tmp_path / "a.jpg", None))


def test_errors_of_the_product_reach_the_benchmark_as_its_own(monkeypatch, tmp_path, head):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "cache").symlink_to(home() / "cache")  # Anthro as it was built
    monkeypatch.setenv("PACOFR_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BenchmarkError, match="detector=mtcnn or detector=mica"):
        load_predictor("mica_ext:auto,detector=other")
    with pytest.raises(BenchmarkError, match="flame-assets get antelopev2"):
        load_predictor("mica_ext:,detector=mica")
    with pytest.raises(BenchmarkError, match="expected a model pack"):
        load_predictor("mica_ext:nowhere")
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(BenchmarkError, match=r"a\.jpg"):
        evaluate.predict(UNLOADED, Photo("s/c/a.jpg", tmp_path / "a.jpg", None))


def test_the_fingerprint_follows_head_and_weights(head):
    weights = Source("landmarks478", "0123456789ab", "research only")
    own = evaluate.fingerprint(head, weights)
    almost = replace(head, template=head.template * np.float32(1 + 1e-7))  # another processor's
    assert same_fingerprint(evaluate.fingerprint(almost, weights), own)
    assert head.name in own
    assert weights.version in own
    assert evaluate.fingerprint(head, weights._replace(version="0" * 12)) != own
    other = replace(head, template=head.template * np.float32(1.001))
    assert not same_fingerprint(evaluate.fingerprint(other, weights), own)
    assert fingerprint_of(evaluate.NowPredictor(UNLOADED, own)) == own
    assert fingerprint_of(lambda photo: evaluate.predict(UNLOADED, photo)) is None


@pytest.fixture(scope="module")
def artificial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scanned heads and one with photos only."""
    from mica_ext.data.synthetic.config import SynthNowConfig
    from mica_ext.data.synthetic.now import synth_now

    folder = tmp_path_factory.mktemp("synth") / "now"
    synth_now(SynthNowConfig(folder=folder, subjects=2, size=320))
    with pytest.raises(UserError, match="expected a new or empty folder"):
        synth_now(SynthNowConfig(folder=folder, subjects=2, size=320))
    return folder


@pytest.mark.slow
def test_artificial_data_has_the_layout_and_the_truth(artificial, tmp_path):
    from PIL import Image

    from eval_now.geometry.align import align

    dataset = NowDataset(artificial)
    images = dataset.images("val")
    assert len(images) == 8
    assert len(dataset.images("test")) == 4
    for image in [*images, *dataset.images("test")]:
        box = dataset.box(image)
        with Image.open(dataset.photo_file(image)) as picture:
            assert picture.size == (320, 320)
        assert box.right - box.left > 80
    for subject in dict.fromkeys(image.subject for image in images):
        scan = dataset.scan(subject)
        assert 15000 < len(scan.points) < 200000
        truth = load_mesh(artificial / "truth" / f"{subject}.ply")
        landmarks = np.load(artificial / "truth" / f"{subject}.npy")
        found = align(scan.points, scan.landmarks, truth.vertices, truth.triangles, landmarks, 1.0)
        assert np.median(found.distances) < 0.2  # noise of 0.15 mm and waves of 0.1 mm
        assert found.landmark_distances.max() < 0.1


@pytest.mark.slow
def test_the_whole_journey_on_a_fresh_machine(artificial, tmp_path):
    settings = EvalConfig(
        dataset=artificial,
        predictor="mica_ext",
        protocol="both",
        jobs=1,
        heatmaps=1,
        out=tmp_path / "run",
    )
    result = run(settings, Console())
    assert result is not None
    assert result.complete
    assert "not_neutral" not in {warning.name for warning in result.warnings}
    for entry in result.protocols:
        assert entry.pooled.median < 3.0
    assert list((tmp_path / "run/heatmaps/metrical").iterdir())
