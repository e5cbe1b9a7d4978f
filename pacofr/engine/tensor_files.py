"""Files of named tensors (safetensors), written for everybody to read and loaded strictly."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pacofr.errors import UserError


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write a safetensors file with the usual rights (0666 less the umask), flushed to the disk."""
    with open(file, "wb") as empty:
        mode = os.fstat(empty.fileno()).st_mode
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, file)
    os.chmod(file, mode)  # safetensors makes files that only their owner may read
    with open(file, "rb") as written:
        os.fsync(written.fileno())


def load_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a file that this package wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}); delete that checkpoint to go on from the one before"
        ) from error


def require_matching_file(model: nn.Module, file: Path) -> None:
    """Check by its header alone that a file holds exactly the model's tensors.

    Args:
        model: may lie on the meta device. `renamed_tensors`, if it has such an attribute, maps
            prefixes of names in files of earlier versions to those of today.
        file: safetensors.

    Raises:
        UserError: the file is damaged; tensors are missing, unknown or of another shape.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()  # noqa: SIM118
            shapes = {current_name(model, n): tuple(opened.get_slice(n).get_shape()) for n in names}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing, extra = sorted(expected.keys() - shapes), sorted(shapes.keys() - expected)
    if missing or extra:
        raise UserError(
            f"{file}: expected exactly the model's tensors; missing {len(missing)} {missing[:3]},"
            f" unknown {len(extra)} {extra[:3]}"
        )
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise UserError(
                f"{file}: expected {name} of shape {shape}, got {shapes[name]}; it belongs to"
                " another model size"
            )


def load_weights(model: nn.Module, file: Path) -> None:
    """Load a file whose tensors must have exactly the names and shapes of the model's.

    Raises:
        UserError: as `require_matching_file`; or a weight is not finite.
    """
    require_matching_file(model, file)
    tensors = {current_name(model, name): tensor for name, tensor in load_tensors(file).items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{file}: {name} holds numbers that are not finite")
    model.load_state_dict(tensors, strict=True)


def current_name(model: nn.Module, name: str) -> str:
    """Today's name of a tensor of `model` that a file of an earlier version holds as `name`."""
    renamed: Mapping[str, str] = getattr(model, "renamed_tensors", {})
    for old, new in renamed.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
