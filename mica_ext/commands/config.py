"""Options of the commands; imports neither torch nor numba, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
MeshFormat = Literal["obj", "ply", "stl", "glb", "off", "3mf", "dae"]


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """A photo in, an expressive 3D face out.

    One photo gives one mesh; several photos or a folder of them give a folder of meshes. Started
    again, a run over several photos goes on: those whose files are there, by their names, and were
    made with the same settings are done.
    """

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Photos, or folders of photos (there all but *.overlay.png and *.texture.png, which this
    command writes); or one video (.mp4 .mov .webm)."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Mesh to write (.obj .ply .stl .glb .off .3mf .dae); a folder when there are several photos.
    Folders that are missing are made. Of a video: an animated .glb."""
    example: Flag = False
    """Reconstruct the public-domain portrait that comes with the package."""
    recursive: Flag = False
    """Also take the photos in subfolders; results go into subfolders of the same names."""
    face: str | None = None
    """Which face: largest, center, all, or a number (0 is the largest). Default: largest, and with
    --detector mica center, as MICA's demo."""
    detector: Literal["mtcnn", "mica"] = "mtcnn"
    """mtcnn, or mica: SCRFD at 224 pixels, as MICA's demo (needs insightface and its pack)."""
    min_face: float | None = None
    """Smallest face to reconstruct [px]; smaller ones give coarse results. With --face all, photos
    are searched down to this size, however large they are."""
    bbox: tuple[float, float, float, float] | None = None
    """Box of the face in the one photo, x0 y0 x1 y1 [px]: nothing is detected."""
    landmarks5: (
        tuple[float, float, float, float, float, float, float, float, float, float] | None
    ) = None
    """Five points of the face in the one photo, x y of left eye, right eye, nose tip, left and
    right mouth corner as seen [px]: nothing is detected."""
    aligned: Flag = False
    """The photos are ArcFace crops (insightface's norm_crop, 112 x 112 or larger): nothing is
    detected."""
    keep_unsure: Flag = False
    """Also write results that would be rejected because they are probably no face."""
    neutral: Flag = False
    """The person without expression: identity alone."""
    posed: Flag = False
    """Turn the head as it is in the photo."""
    unit: Literal["mm", "cm", "m"] | None = None
    """Unit of the mesh and landmark files; mm unless given (GLB, and landmarks with it: m)."""
    params: Path | None = None
    """Also write the parameters (JSON): `mica-ext rebuild` makes the very same mesh from them. Of a
    video: identity, and every frame's expression, gaze and pose."""
    csv: Path | None = None
    """Also write a video's ARKit weights, head and eye angles in Live Link Face's columns."""
    landmarks: Path | None = None
    """Also write the 68 and the 7 NoW landmarks (JSON)."""
    overlay: Path | None = None
    """Also write a picture (.png .jpg): the photo, the mesh over it, and three views of the
    mesh. Of a video: a video (.mp4 .mov .webm)."""
    overlay_style: Literal["clay", "wire", "textured"] = "clay"
    """How the picture shows the mesh: as smooth clay, by its triangles' edges, or with the photo's
    texture."""
    overlay_points: Flag = False
    """Also mark the detected points on the picture's photo."""
    view: Literal["page", "window"] | None = None
    """Show the head: in a page beside the mesh (NAME.view.html; --view alone means it) that the
    browser opens and that needs no network, or in a window of Open3D."""
    no_open: Flag = False
    """Write the page of --view, and leave the browser alone."""
    texture: Flag = False
    """Unwrap the photo into the mesh's texture: NAME.texture.png beside an .obj (with NAME.mtl) or
    .ply. A .glb holds it always."""
    solid: Flag = False
    """Close neck, mouth and lids: a watertight mesh for printing, without texture."""
    format: MeshFormat = "obj"
    """Format of meshes in a folder of results."""
    model: str = "auto"
    """Model pack: a name in the store, a folder, or auto: MICA's where it and FLAME 2020 are
    installed (`mica-ext import`), else the one that comes with the package."""
    head: str | None = None
    """Head to use in place of the pack's: anthro, flame2020, ... or a folder."""
    identity: Literal["mica", "fit"] | None = None
    """Where the identity comes from: the pack's identity network (FLAME 2020 only), or the fit to
    the points. Default: the network where the pack has one for its head."""
    fit: Literal["full", "none"] = "full"
    """full: all parameters are fitted to the points, from where the pack's expression network
    sees them, if it has one for the head. none: what that network sees, not fitted, on the
    identity network's person or else the mean head; without --model the shipped one, of Anthro."""
    same_person: Flag = False
    """All photos show one person: one identity for all of them, from the identity network."""
    points: Literal["auto", "student", "face-mesh"] = "auto"
    """Whose 478 points the fit reads: the shipped network's, Face Mesh's (`flame-assets get
    face-mesh`), or auto: Face Mesh's where it is installed."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: cuda when there is one."""
    threads: int | None = None
    """Photos worked on at a time, each by one CPU thread; default: one per core, at most 4."""
    json: Flag = False
    """Report on standard output as JSON."""
    verbose: Annotated[Flag, tyro.conf.arg(aliases=["-v"])] = False
    """Also print which model, head, weights and detector were used, and their licences."""
    overwrite: Flag = False
    """Replace files that exist."""

    @property
    def chosen_face(self) -> str:
        """`face`, or its default."""
        return self.face or ("center" if self.detector == "mica" else "largest")


@dataclass(frozen=True, kw_only=True)
class RebuildConfig:
    """Make a mesh again from a file of `reconstruct --params`: as it was, or edited.

    A face on another head (--head) is as near to the person as that head can be; the expression
    goes through ARKit's weights.
    """

    params: Annotated[Path, tyro.conf.Positional]
    """The JSON file, or a frame of a video's: clip.json@SECONDS."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Mesh to write (.obj .ply .stl .glb .off .3mf .dae)."""
    expression_from: Path | None = None
    """Parameter file (or clip.json@SECONDS) of a face whose expression and gaze are taken; its head
    may be another."""
    expression_scale: float = 1.0
    """Factor on expression and jaw, 0 to 3."""
    weights: Annotated[
        tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE"), tyro.conf.UseAppendAction
    ] = ()
    """ARKit shape and its weight, 0 to 1, such as jawOpen=0.4; after the scale. May be repeated."""
    head: str | None = None
    """Another head: auto, anthro, flame2020, ... or a folder; or where the file's own head is."""
    pose: Literal["expressive", "neutral", "posed"] | None = None
    """Another pose than that of the mesh written with it."""
    unit: Literal["mm", "cm", "m"] | None = None
    """Unit of the file; mm unless given (GLB is always in m)."""
    photo: Path | None = None
    """The photo, for overlay and texture; by default the file of its name beside the JSON."""
    overlay: Path | None = None
    """Picture of the photo, the mesh over it, and three views (.png .jpg)."""
    overlay_style: Literal["clay", "wire", "textured"] = "clay"
    """How the mesh is drawn."""
    texture: Flag = False
    """The photo as texture of the mesh (.obj .ply .glb)."""
    write_params: Path | None = None
    """Parameter file of the result."""
    solid: Flag = False
    """Close neck, mouth and lids: a watertight mesh for printing."""
    overwrite: Flag = False
    """Replace files that exist."""


@dataclass(frozen=True, kw_only=True)
class SheetConfig:
    """Draw one face under twelve expressions, from a file of `reconstruct --params`."""

    params: Annotated[Path, tyro.conf.Positional]
    """The JSON file, or a frame of a video's: clip.json@SECONDS."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Picture to write (.png .jpg)."""
    style: Literal["auto", "clay", "textured"] = "auto"
    """auto: textured where the photo is at hand."""
    photo: Path | None = None
    """The photo; by default its name is looked for beside the JSON file."""
    head: str | None = None
    """Another head: auto, anthro, flame2020, ... or a folder; or where the file's own head is."""
    size: int = 360
    """Height of each picture [px]."""
    overwrite: Flag = False
    """Replace a file that exists."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Show the face of a file that `reconstruct --params` wrote, in the browser."""

    params: Annotated[Path, tyro.conf.Positional]
    """The JSON file of a face or a video, or a frame of a video's: clip.json@SECONDS."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Page to write (.html); by default NAME.view.html beside the file, replacing an earlier
    one."""
    texture: Path | None = None
    """The photo that the face was made from: gives the head its texture, and is shown behind
    it."""
    pose: Literal["expressive", "neutral", "posed"] | None = None
    """Pose to begin with; by default that of the mesh written with the file."""
    head: str | None = None
    """Another head: auto, anthro, flame2020, ... or a folder; or where the file's own head is."""
    window: Flag = False
    """Show it in a window of Open3D, and write no page."""
    no_open: Flag = False
    """Write the page, and leave the browser alone."""
    overwrite: Flag = False
    """Replace the file of --out."""


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Make a model pack of MICA's checkpoint; it is read as data, nothing in it is executed."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """MICA's mica.tar (its repository's install.sh says where to get it)."""
    name: str = "mica"
    """Of the pack in the store, for --model."""
    out: Path | None = None
    """Folder for the pack in place of the store's."""
    overwrite: Flag = False
    """Replace a pack that exists."""


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """Put networks together as a model pack, a folder for `reconstruct --model`."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the pack."""
    identity: Path | None = None
    """Folder of an identity network: `model` of a run of `mica-ext train-identity`."""
    landmarks: Path | None = None
    """Folder of a landmark network; by default the one that comes with the package is used."""
    expression: Path | None = None
    """Folder of an expression network of --head: `model` of a run of `mica-ext train`."""
    head: str = "auto"
    """The pack's head: auto, anthro, flame2020, ... or a folder."""
    name: str | None = None
    """The pack's name; by default the folder's."""
    overwrite: Flag = False
    """Replace a pack that exists."""


@dataclass(frozen=True, kw_only=True)
class ExportEncoderConfig:
    """Write the face encoder of a pack's expression network as a folder like those of `pacofr
    pretrain`, with a card: for `pacofr probe`, `pacofr task --encoder` and `mica-ext train
    --encoder-weights`.
    """

    pack: Annotated[str, tyro.conf.Positional] = "anthro-expression"
    """A name or a folder, as --model of `reconstruct`; its encoder was tuned for expressions."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write; model/ in it is the encoder."""


@dataclass(frozen=True, kw_only=True)
class ExportOnnxConfig:
    """Write the networks of a model pack as ONNX graphs, each compared with onnxruntime.

    Photo to faces and photo to 478 points as one graph each, the networks in them by themselves,
    and the pack's identity and expression networks; a manifest names inputs, outputs,
    normalisation, opset and licences. An example beside them finds the points of a photo without
    torch.
    """

    pack: Annotated[str, tyro.conf.Positional]
    """auto, a name or a folder, as --model of `reconstruct`."""
    out: Annotated[Path, tyro.conf.Positional]
    """New folder."""
    overwrite: Flag = False
    """Replace a folder that this command wrote."""


@dataclass(frozen=True, kw_only=True)
class ConvertExpressionConfig:
    """FLAME expressions as ARKit weights, and ARKit weights as FLAME expressions.

    Reads what public FLAME trackers write (.npz, .json, a folder of them; expr, exp or expression,
    jaw or jaw_pose, eyes, eyelids, ...) and Live Link Face's CSV; prints what the conversion leaves
    over.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """A .npz or .json of one or many frames, a folder with one of them a frame, or a .csv."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """File to write: .csv (Live Link Face; ARKit only), .json or .npz."""
    to: Literal["arkit", "flame"] | None = None
    """What to write; default: what the source is not."""
    head: str = "flame2020"
    """Head that the expression belongs to: flame2020, flame2023, gnm, ... or a folder."""
    source_head: str | None = None
    """Head that ARKit's shapes are carried from; default: ict where it is installed, else
    anthro."""
    eyelids: Flag = False
    """Write blinks as the eyelid coefficients that some trackers add to FLAME, and leave them out
    of the expression."""
    fps: float = 30.0
    """Frames a second, for time codes."""
    overwrite: Flag = False
    """Replace a file that exists."""
