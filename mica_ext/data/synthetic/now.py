"""`mica-ext synth-now`: artificial subjects with photos and scans, in the layout of NoW."""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from eval_now.data.boxes import Box
from eval_now.data.scan_degradation import ScanDegradation, Unseen, degrade_to_scan
from eval_now.data.synthetic import write_image_list, write_photo, write_scan, write_truth
from eval_now.errors import UserError as BenchmarkError
from eval_now.geometry.mesh import Mesh
from flame_assets.model.head_module import HeadParameters
from flame_assets.store import load_head
from mica_ext.data.synthetic.appearance.painting import draw_occluder
from mica_ext.data.synthetic.appearance.skin_and_hair import Appearance
from mica_ext.data.synthetic.config import SynthNowConfig
from mica_ext.data.synthetic.faces import SyntheticFaces
from mica_ext.data.synthetic.sampling import sample_camera, sample_head
from mica_ext.errors import UserError
from mica_ext.models.projection import project
from mica_ext.render.views import View
from pacofr.utils.progress import track

Challenge = Literal["multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie"]
UNSEEN: tuple[Unseen, ...] = ("nothing", "a side", "nothing", "the chin")
"""Missing part of every scan, in turn."""


class Subject(NamedTuple):
    """A subject's constant parts."""

    shape: Float32[np.ndarray, "1 S"]
    appearance: Appearance


class NowPhotos(SyntheticFaces):
    """Photos of artificial subjects for the four challenges of the benchmark."""

    def subject(self, number: int) -> Subject:
        """Subject `number`."""
        generator = np.random.default_rng([self.seed, number])
        shape = generator.standard_normal((1, self.head.shape_count)) * 0.9
        return Subject(shape.astype(np.float32), self.appearances.sample(generator))

    @torch.inference_mode()
    def ground_truth(self, subject: Subject) -> tuple[Mesh, Float32[np.ndarray, "7 3"]]:
        """The neutral head and its seven landmarks [mm]."""
        shape = torch.from_numpy(subject.shape)
        mesh = self.decoder(HeadParameters.zeros(self.head)._replace(shape=shape))
        vertices = 1000 * mesh.vertices[0].double().numpy()
        landmarks = 1000 * mesh.landmarks7[0].numpy()
        return Mesh(vertices, self.head.triangles.astype(np.int64)), landmarks

    @torch.inference_mode()
    def photo(
        self, subject: Subject, challenge: Challenge, generator: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "size size 3"], Box]:
        """One photo and the box of its face."""
        sampled = sample_head(generator, self.head)
        parameters = sampled._replace(shape=torch.from_numpy(subject.shape))
        if challenge != "multiview_expressions":
            zero = HeadParameters.zeros(self.head)
            parameters = parameters._replace(expression=zero.expression, jaw_pose=zero.jaw_pose)
        mesh = self.decoder(parameters)
        camera = sample_camera(generator, mesh.landmarks[0].numpy(), self.size)
        points = project(camera, mesh.landmarks)[0].numpy()
        vertices, view = mesh.vertices[0].numpy(), View.from_camera(camera)
        picture = self.paint(generator, vertices, points, view, subject.appearance)
        if challenge == "multiview_occlusions":
            eyes_px = float(np.linalg.norm(points[45] - points[36]))
            centre = points[generator.choice([4, 12, 48, 54])].astype(np.float64)
            picture = draw_occluder(generator, picture, centre, 0.45 * eyes_px)
        low, high = points.min(axis=0), points.max(axis=0)
        return picture, Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def synth_now(config: SynthNowConfig) -> None:
    """Write the data set."""
    try:
        _write_data_set(config)
    except BenchmarkError as error:
        raise UserError(str(error)) from None


def _write_data_set(config: SynthNowConfig) -> None:
    root = config.folder
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root}: expected a new or empty folder; choose another or remove it")
    photos = NowPhotos(load_head(config.head), seed=config.seed, size=config.size)
    lists: dict[Literal["val", "test"], list[str]] = {"val": [], "test": []}
    for number in track(range(config.subjects + 1), "persons"):
        subject = photos.subject(number)
        name = f"SYNTH_{config.seed:06d}_{number + 1:05d}_TA"
        scanned = number < config.subjects
        if scanned:
            _write_scan(root, name, photos, subject, number, config.seed)
        lists["val" if scanned else "test"] += _write_photos(
            root, name, photos, subject, number, config
        )
    for split, names in lists.items():
        write_image_list(root, split, names)
    print(
        f"{len(lists['val'])} photos of {config.subjects} scanned heads in {root}; now run: "
        f"eval-now --predictor mica_ext --dataset {root}"
    )


def _write_scan(
    root: Path, name: str, photos: NowPhotos, subject: Subject, number: int, seed: int
) -> None:
    mesh, landmarks = photos.ground_truth(subject)
    degradation = ScanDegradation(unseen=UNSEEN[number % len(UNSEEN)])
    points = landmarks.astype(np.float64)
    write_scan(root, name, degrade_to_scan(mesh, points, seed + 7919 * number, degradation))
    write_truth(root, name, mesh, points)


def _write_photos(
    root: Path,
    subject_name: str,
    photos: NowPhotos,
    subject: Subject,
    number: int,
    config: SynthNowConfig,
) -> list[str]:
    names: list[str] = []
    for challenge in get_args(Challenge):
        for _ in range(config.photos):
            generator = np.random.default_rng([config.seed, number, len(names)])
            picture, box = photos.photo(subject, challenge, generator)
            name = f"{subject_name}/{challenge}/IMG_{len(names) + 1:04d}.jpg"
            write_photo(root, name, picture, box)
            names.append(name)
    return names
