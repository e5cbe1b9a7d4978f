"""Rendered heads with exact landmarks, camera and parameters: labelled photos without photos.

Each face is a function of (seed, index) alone: identity, expression, gaze, pose, lens, skin, hair,
light, background and what hides the face are drawn from one generator seeded with both.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from flame_assets.arkit import ArkitPose, arkit
from flame_assets.model.head import HeadModel
from flame_assets.model.head_module import HeadDecoder, HeadParameters
from mica_ext.data.synthetic.appearance import HeadLooks, Looks
from mica_ext.data.synthetic.expressions import draw_expression
from mica_ext.data.synthetic.painting import (
    area_mask,
    background,
    blend,
    fill,
    hair_texture,
    occluder,
    outline_mask,
    strokes,
)
from mica_ext.models.projection import Camera, project
from mica_ext.models.types import FaceParameters
from mica_ext.render.raster import vertex_normals
from mica_ext.render.shading import Lighting, View, camera_points, draw

MAX_TURN = np.deg2rad([30.0, 60.0, 30.0])  # pitch, yaw, roll


class SyntheticFace(NamedTuple):
    """A picture of a head and all that is known about it."""

    image: UInt8[np.ndarray, "size size 3"]
    landmarks_px: Float32[np.ndarray, "68 2"]  # iBUG; some hidden, a few may lie outside
    parameters: FaceParameters  # a batch of one


class SyntheticFaces:
    """An endless set of faces of one head model; `draw` is deterministic and stateless."""

    def __init__(self, head: HeadModel, *, seed: int = 0, size: int = 256) -> None:
        self.head = head
        self.seed = seed
        self.size = size
        self.flame = HeadDecoder(head)
        with torch.inference_mode():
            rest = self.flame(HeadParameters.zeros(head))
        self.looks = HeadLooks(head, rest.landmarks[0].numpy())

    def draw(self, index: int) -> SyntheticFace:
        """Face number `index`."""
        generator = np.random.default_rng([self.seed, index])
        parameters = draw_head(generator, self.head)
        with torch.inference_mode():
            mesh = self.flame(parameters)
        vertices = mesh.vertices[0].numpy()
        camera = draw_camera(generator, mesh.landmarks[0].numpy(), self.size)
        points = project(camera, mesh.landmarks)[0].numpy()
        looks = self.looks.draw(generator)
        image = self._paint(generator, vertices, points, camera.view(), looks)
        return SyntheticFace(image, points, FaceParameters(parameters, camera))

    def _paint(
        self,
        generator: np.random.Generator,
        vertices: Float32[np.ndarray, "V 3"],
        points: Float32[np.ndarray, "68 2"],
        view: View,
        looks: Looks,
    ) -> UInt8[np.ndarray, "size size 3"]:
        size, triangles = self.size, self.head.triangles
        picture = background(generator, size, size)
        eyes_px = float(np.linalg.norm(points[45] - points[36]))
        hair = hair_texture(generator, size, size, looks.hair_colour)
        hair = _shaded(generator, hair)
        if looks.long_hair:
            picture = fill(picture, _mane(generator, points, eyes_px), hair)
        picture = _clothes(generator, picture, vertices, view, eyes_px)
        normals = vertex_normals(vertices, triangles)
        grown = vertices + normals * looks.hair_thickness[:, None]
        lighting = draw_lighting(generator)
        drawing = draw(
            grown, triangles, view, picture, colours=looks.colours, lighting=lighting, samples=2
        )
        picture = drawing.picture
        facing = camera_points(view, vertices)
        facing = -np.einsum("vi,vi->v", facing, normals) / np.linalg.norm(facing, axis=1)
        brightness = float(picture[drawing.raster.depth[::2, ::2] < np.inf].mean() / 150.0)
        for hairs in looks.hairs:
            seen = facing[hairs.vertices] > 0.2
            start = vertices[hairs.vertices] + normals[hairs.vertices] * 0.0006
            ends = np.stack([start, start + hairs.offsets])[:, seen]
            flat = [_pixels(view, end) for end in ends]
            colour = hairs.colour * min(brightness, 1.0)
            width_px = hairs.width_m * eyes_px / 0.09
            picture = strokes(picture, flat[0], flat[1], colour, width_px, hairs.strength)
        if looks.curtains:
            for side in (points[:6], points[16:10:-1]):
                picture = fill(picture, _curtain(generator, side, points, eyes_px), hair)
        if generator.random() < 0.12:
            picture = _glasses(generator, picture, points, eyes_px)
        if generator.random() < 0.2:
            middle = points[generator.integers(68)] + generator.normal(0, 0.3, 2) * eyes_px
            reach = eyes_px * generator.uniform(0.15, 0.75)
            picture = occluder(generator, picture, middle, reach)
        return _photograph(generator, picture)


def draw_head(generator: np.random.Generator, head: HeadModel) -> HeadParameters:
    """Random identity, a natural expression, gaze and a turn of up to 60, 30 and 30 degrees."""
    shape = generator.standard_normal(head.shape_count) * generator.uniform(0.8, 1.15)
    if head.expression_convention == "arkit":
        names = head.expression_names
        pose = arkit(draw_expression(generator, names), names)
    else:
        expression = generator.standard_normal(head.expression_count)
        jaw = np.array([max(0.0, generator.normal(0.02, 0.14)), 0.0, 0.0])
        gaze = generator.normal(0, [0.10, 0.16, 0.0])
        pose = ArkitPose(*(row.astype(np.float32) for row in (expression, jaw, gaze, gaze)))
    turn = draw_turn(generator)
    neck = generator.uniform(0, 0.4)
    rows = (shape, pose.expression, turn * (1 - neck), turn * neck, *pose[1:])
    return HeadParameters(*(torch.from_numpy(row.astype(np.float32)[None]) for row in rows))


def draw_turn(generator: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Axis-angle [rad]: mostly near frontal, one in three anywhere within the limits."""
    if generator.random() < 0.35:
        pitch, yaw, roll = generator.uniform(-1, 1, 3) * MAX_TURN
    else:
        spread = np.deg2rad([9.0, 18.0, 8.0])
        pitch, yaw, roll = np.clip(generator.standard_normal(3) * spread, -MAX_TURN, MAX_TURN)
    about_x, about_y, about_z = (
        cv2.Rodrigues(np.eye(3)[axis] * angle)[0] for axis, angle in enumerate((pitch, yaw, roll))
    )
    return cv2.Rodrigues(about_z @ about_x @ about_y)[0][:, 0]


def draw_camera(
    generator: np.random.Generator, landmarks: Float32[np.ndarray, "68 3"], size: int
) -> Camera:
    """A camera 0.35 to 2.5 m away whose picture holds the face with room around it."""
    middle = (landmarks.min(axis=0) + landmarks.max(axis=0)) / 2
    distance = np.exp(generator.uniform(np.log(0.35), np.log(2.5)))
    extent = np.ptp(landmarks[:, :2], axis=0).max()
    focal = generator.uniform(0.40, 0.64) * size * distance / extent
    aim = size / 2 + generator.normal(0, 0.035, 2) * size
    centre = np.full(2, (size - 1) / 2)
    # the face stands off the axis so that it is seen at `aim`
    shift = (aim - centre) * [1, -1] * distance / focal
    translation = np.append(shift, -distance) - [middle[0], middle[1], middle[2]]
    return Camera(
        torch.tensor([focal], dtype=torch.float32),
        torch.tensor(centre[None], dtype=torch.float32),
        torch.tensor(translation[None], dtype=torch.float32),
    )


def draw_lighting(generator: np.random.Generator) -> Lighting:
    """One main light from anywhere in front, a weaker second one, sometimes a rim, and a room."""

    def light(strength: float, front: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        direction = generator.normal(0, 1, 3)
        direction[2] = abs(direction[2]) * front + 0.2 * front
        direction[1] = direction[1] * 0.8 + 0.35
        warmth = generator.normal(0, 0.08)
        colour = strength * np.array([1 + warmth, 1.0, 1 - 1.2 * warmth])
        return tuple(direction / np.linalg.norm(direction)), tuple(colour)

    key = generator.uniform(0.15, 1.1)
    lights = [light(key, 1.0), light(key * generator.uniform(0, 0.6), 1.0)]
    if generator.random() < 0.3:
        lights.append(light(generator.uniform(0.2, 0.8), -1.0))
    room = generator.uniform(0.12, 0.75 - 0.5 * min(key, 1.0) + 0.1)
    tint = np.exp(generator.normal(0, 0.06, 3)) * room
    return Lighting(
        directions=tuple((float(x), float(y), float(z)) for (x, y, z), _ in lights),
        intensities=tuple((float(r), float(g), float(b)) for _, (r, g, b) in lights),
        sky=(float(tint[0]), float(tint[1]), float(tint[2])),
        ground=(float(tint[0] * 0.6), float(tint[1] * 0.55), float(tint[2] * 0.5)),
        gloss=float(generator.uniform(0.0, 0.22)),
    )


def _pixels(view: View, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    moved = camera_points(view, points)
    scale = view.focal_px / -moved[:, 2]
    return np.stack(
        [view.centre_px[0] + scale * moved[:, 0], view.centre_px[1] - scale * moved[:, 1]], axis=1
    )


def _shaded(
    generator: np.random.Generator, paint: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    grid = generator.uniform(0.45, 1.15, (3, 3)).astype(np.float32)
    light = cv2.resize(grid, paint.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(paint * light[:, :, None], 0, 255).astype(np.uint8)


def _mane(
    generator: np.random.Generator, points: Float32[np.ndarray, "68 2"], eyes_px: float
) -> Float[np.ndarray, "n 2"]:
    """Outline of long hair behind the head."""
    up = points[27] - points[8]
    up /= np.linalg.norm(up)
    middle = (points[0] + points[16]) / 2
    angle = np.linspace(-0.2, np.pi + 0.2, 14)
    wide = eyes_px * generator.uniform(0.95, 1.25)
    high = eyes_px * generator.uniform(1.15, 1.45)
    across = np.array([-up[1], up[0]])
    arc = middle + np.cos(angle)[:, None] * wide * across + np.sin(angle)[:, None] * high * up
    low = eyes_px * generator.uniform(0.8, 2.6)
    ends = np.stack([arc[-1] + [0, low], arc[0] + [0, low]])
    return np.concatenate([arc, ends]) + generator.normal(0, 0.03, (16, 2)) * eyes_px


def _curtain(
    generator: np.random.Generator,
    side: Float32[np.ndarray, "6 2"],
    points: Float32[np.ndarray, "68 2"],
    eyes_px: float,
) -> Float[np.ndarray, "n 2"]:
    """Outline of hair that falls over one side of the face; `side` runs down the contour."""
    inward = points[30] - side.mean(axis=0)
    inward /= max(float(np.linalg.norm(inward)), 1e-6)
    up = points[27] - points[8]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    cover = generator.normal(0.02, 0.10) * eyes_px
    top = side[0] + up * eyes_px * generator.uniform(0.5, 0.9) + inward * eyes_px * 0.35
    inner = side + inward * cover + generator.normal(0, 0.015, side.shape) * eyes_px
    outer = side[::-1] - inward * eyes_px * generator.uniform(0.12, 0.35)
    low = (inner[-1] + outer[0]) / 2 + [0, eyes_px * generator.uniform(0.2, 1.4)]
    return np.concatenate(
        [top[None], inner, low[None], outer, (top - inward * eyes_px * 0.3)[None]]
    )


def _clothes(
    generator: np.random.Generator,
    picture: UInt8[np.ndarray, "h w 3"],
    vertices: Float32[np.ndarray, "V 3"],
    view: View,
    eyes_px: float,
) -> UInt8[np.ndarray, "h w 3"]:
    """Shoulders below the neck's end."""
    low = vertices[:, 1] < vertices[:, 1].min() + 0.02
    neck = _pixels(view, vertices[low]).mean(axis=0)
    wide = eyes_px * generator.uniform(2.0, 2.9)
    drop = generator.uniform(0.3, 0.9) * eyes_px
    collar = eyes_px * generator.uniform(0.55, 0.8)
    outline = neck + np.array(
        [
            [-collar, -0.35 * eyes_px],
            [collar, -0.35 * eyes_px],
            [0.6 * wide, drop * 0.5],
            [wide, drop],
            [wide, 6 * eyes_px],
            [-wide, 6 * eyes_px],
            [-wide, drop],
            [-0.6 * wide, drop * 0.5],
        ]
    )
    return fill(picture, outline, background(generator, *picture.shape[:2]))


def _glasses(
    generator: np.random.Generator,
    picture: UInt8[np.ndarray, "h w 3"],
    points: Float32[np.ndarray, "68 2"],
    eyes_px: float,
) -> UInt8[np.ndarray, "h w 3"]:
    """Frames around both eyes, a bridge and temples; now and then dark glass."""
    thick = max(1, round(eyes_px * generator.uniform(0.01, 0.05)))
    squareness = generator.uniform(2.0, 5.0)
    angle = np.linspace(0, 2 * np.pi, 28)
    ring = np.stack([_power(f(angle), 2 / squareness) for f in (np.cos, np.sin)], axis=1)
    high = eyes_px * generator.uniform(0.13, 0.24)
    rims, temples = [], []
    for eye, ear in ((points[36:42], points[0]), (points[42:48], points[16])):
        across = (eye[3] - eye[0]) * generator.uniform(0.75, 0.95)
        down = np.array([-across[1], across[0]]) / max(float(np.linalg.norm(across)), 1.0) * high
        rim = eye.mean(axis=0) + ring[:, :1] * across + ring[:, 1:] * down + down * 0.15
        rims.append(rim)
        temples.append(np.stack([rim[np.argmin(np.linalg.norm(rim - ear, axis=1))], ear]))
    gaps = np.linalg.norm(rims[0][:, None] - rims[1][None], axis=2)
    near, other = np.unravel_index(gaps.argmin(), gaps.shape)
    bridge = np.stack([rims[0][near], rims[1][other]])
    mask = outline_mask(picture.shape, [*rims, bridge, *temples], thick)
    glass = area_mask(picture.shape, rims)
    frame = np.empty_like(picture)
    frame[:] = generator.uniform(0, 255, 3) * generator.uniform(0.1, 1.0)
    tint = generator.uniform(0.8, 1.0) if generator.random() < 0.25 else generator.uniform(0, 0.15)
    dark = np.empty_like(picture)
    dark[:] = generator.uniform(0, 60, 3)
    picture = blend(picture, dark, (glass * tint).astype(np.uint8))
    return blend(picture, frame, mask)


def _power(values: Float[np.ndarray, " n"], exponent: float) -> Float[np.ndarray, " n"]:
    return np.sign(values) * np.abs(values) ** exponent


def _photograph(
    generator: np.random.Generator, picture: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Lens blur, exposure, sensor noise, JPEG."""
    if generator.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), generator.uniform(0.3, 1.6))
    ramp = (np.arange(256) / 255.0)[:, None] ** np.exp(generator.normal(0, 0.22))
    ramp = (ramp - 0.45) * np.exp(generator.normal(0, 0.15)) + 0.45
    ramp = ramp * np.exp(generator.normal(0, 0.05, 3)) + generator.normal(0, 0.03)
    picture = cv2.LUT(picture, np.clip(ramp * 255, 0, 255).astype(np.uint8)[None])
    spread = generator.exponential(4.0)
    if spread > 1:
        noise = generator.standard_normal(picture.shape, np.float32) * np.float32(spread)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if generator.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(30, 92))]
        packed = cv2.imencode(".jpg", picture, quality)[1]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return picture
