"""`mica-ext synth-now`: persons of a head model, photographed, scanned and laid out as NoW."""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from eval_now.data.boxes import Box
from eval_now.data.synthetic import (
    Damage,
    make_scan,
    write_image_list,
    write_photo,
    write_scan,
    write_truth,
)
from eval_now.errors import UserError as BenchmarkError
from eval_now.io.meshes import Mesh
from flame_assets.model.head_module import HeadParameters
from flame_assets.store import load_head
from mica_ext.data.synthetic.appearance import Looks
from mica_ext.data.synthetic.config import SynthNowConfig
from mica_ext.data.synthetic.faces import SyntheticFaces, draw_camera, draw_head
from mica_ext.data.synthetic.painting import occluder
from mica_ext.errors import UserError
from mica_ext.models.projection import project
from pacofr.utils.progress import track

Challenge = Literal["multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie"]
UNSEEN = ("nothing", "a side", "nothing", "the chin")  # of the scans, in turn


class Person(NamedTuple):
    """What stays the same over a person's photos."""

    shape: Float32[np.ndarray, "1 S"]
    looks: Looks


class NowPhotos(SyntheticFaces):
    """Photos of one person after the other, of the benchmark's four kinds."""

    def person(self, number: int) -> Person:
        """Person `number`: identity and looks."""
        generator = np.random.default_rng([self.seed, number])
        shape = generator.standard_normal((1, self.head.shape_count)) * 0.9
        return Person(shape.astype(np.float32), self.looks.draw(generator))

    @torch.inference_mode()
    def truth(self, person: Person) -> tuple[Mesh, Float32[np.ndarray, "7 3"]]:
        """The person's neutral head and its seven landmarks [mm]."""
        rest = HeadParameters.zeros(self.head)._replace(shape=torch.from_numpy(person.shape))
        mesh = self.flame(rest)
        vertices = 1000 * mesh.vertices[0].double().numpy()
        return Mesh(vertices, self.head.triangles.astype(np.int64)), 1000 * mesh.landmarks7[
            0
        ].numpy()

    @torch.inference_mode()
    def photo(
        self, person: Person, challenge: Challenge, generator: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "size size 3"], Box]:
        """One photo and the box of its face."""
        drawn = draw_head(generator, self.head)
        parameters = drawn._replace(shape=torch.from_numpy(person.shape))
        if challenge != "multiview_expressions":
            rest = HeadParameters.zeros(self.head)
            parameters = parameters._replace(expression=rest.expression, jaw_pose=rest.jaw_pose)
        mesh = self.flame(parameters)
        camera = draw_camera(generator, mesh.landmarks[0].numpy(), self.size)
        points = project(camera, mesh.landmarks)[0].numpy()
        picture = self._paint(
            generator, mesh.vertices[0].numpy(), points, camera.view(), person.looks
        )
        if challenge == "multiview_occlusions":
            eyes_px = float(np.linalg.norm(points[45] - points[36]))
            middle = points[generator.choice([4, 12, 48, 54])].astype(np.float64)
            picture = occluder(generator, picture, middle, 0.45 * eyes_px)
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
        person = photos.person(number)
        subject = f"SYNTH_{config.seed:06d}_{number + 1:05d}_TA"
        scanned = number < config.subjects
        if scanned:
            _write_scan(root, subject, photos, person, number, config.seed)
        lists["val" if scanned else "test"] += _write_photos(
            root, subject, photos, person, number, config
        )
    for split, names in lists.items():
        write_image_list(root, split, names)
    print(
        f"{len(lists['val'])} photos of {config.subjects} scanned heads in {root}; now run: "
        f"eval-now --predictor mica_ext --dataset {root}"
    )


def _write_scan(
    root: Path, subject: str, photos: NowPhotos, person: Person, number: int, seed: int
) -> None:
    mesh, landmarks = photos.truth(person)
    damage = Damage(unseen=UNSEEN[number % len(UNSEEN)])
    points = landmarks.astype(np.float64)
    write_scan(root, subject, make_scan(mesh, points, seed + 7919 * number, damage))
    write_truth(root, subject, mesh, points)


def _write_photos(
    root: Path,
    subject: str,
    photos: NowPhotos,
    person: Person,
    number: int,
    config: SynthNowConfig,
) -> list[str]:
    names: list[str] = []
    for challenge in get_args(Challenge):
        for _ in range(config.photos):
            generator = np.random.default_rng([config.seed, number, len(names)])
            picture, box = photos.photo(person, challenge, generator)
            name = f"{subject}/{challenge}/IMG_{len(names) + 1:04d}.jpg"
            write_photo(root, name, picture, box)
            names.append(name)
    return names
